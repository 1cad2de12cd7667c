from django.urls import re_path

from .views import receive

app_name = "webhooks"
# With or without the last slash: a redirect would lose the body.
urlpatterns = [re_path(r"^(?P<slug>[-\w]+)/?$", receive, name="receive")]
