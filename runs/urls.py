from django.urls import path

from .views import conversations, forking, runs, saved, state

app_name = "runs"
urlpatterns = [
    path("conversations/", conversations.conversations, name="conversations"),
    path("conversations/new/", conversations.new, name="new"),
    path("conversations/views/", saved.save, name="save_view"),
    path("conversations/views/<uuid:pk>/rename/", saved.rename, name="rename_view"),
    path("conversations/views/<uuid:pk>/delete/", saved.delete, name="delete_view"),
    path("conversations/<uuid:pk>/", conversations.conversation, name="conversation"),
    path("conversations/<uuid:pk>/messages/", conversations.message, name="message"),
    path("runs/<uuid:pk>/", runs.run, name="run"),
    path("runs/<uuid:pk>/stop/", runs.stop, name="stop"),
    path("runs/<uuid:pk>/resume/", runs.resume, name="resume"),
    path("runs/<uuid:pk>/fork/", forking.fork, name="fork"),
    path("runs/<uuid:pk>/state/", state.state, name="state"),
    path("runs/<uuid:pk>/state.json", state.state_file, name="state_file"),
]
