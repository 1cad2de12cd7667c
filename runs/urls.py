from django.urls import path

from . import views

app_name = "runs"
urlpatterns = [
    path("conversations/", views.conversations, name="conversations"),
    path("conversations/new/", views.new, name="new"),
    path("conversations/<uuid:pk>/", views.conversation, name="conversation"),
    path("conversations/<uuid:pk>/messages/", views.message, name="message"),
    path("runs/<uuid:pk>/", views.run, name="run"),
    path("runs/<uuid:pk>/stop/", views.stop, name="stop"),
    path("runs/<uuid:pk>/resume/", views.resume, name="resume"),
]
