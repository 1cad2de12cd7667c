from django.urls import path, re_path

from approvals.live import QueueConsumer
from runs.live.consumers import RunConsumer, refuse

urlpatterns = [
    path("ws/runs/<uuid:pk>/", RunConsumer.as_asgi()),
    path("ws/queue/", QueueConsumer.as_asgi()),
    re_path("", refuse),  # type: ignore[arg-type]  # an ASGI application, not a view
]
