from django.urls import path

from .views import (
    attention,
    bulk,
    editing,
    export,
    history,
    ops,
    people,
    queue,
    requests,
    rules,
    similar,
)

app_name = "approvals"
urlpatterns = [
    path("", queue.queue, name="queue"),
    path("history/", history.history, name="history"),
    path("history/decisions.csv", history.history_csv_file, name="history_csv"),
    path(
        "conversations/<uuid:pk>/export.json",
        export.conversation,
        name="export_conversation",
    ),
    path("runs/<uuid:pk>/export.json", export.run, name="export_run"),
    path("queue/views/", queue.views, name="views"),
    path("queue/bulk/", bulk.bulk, name="bulk"),
    path("keys/", queue.keys, name="keys"),
    path("ops/", ops.ops, name="ops"),
    path("settings/", people.settings, name="settings"),
    path("settings/password/", people.password, name="password"),
    path("settings/waiting/", people.waiting, name="waiting"),
    path("requests/<uuid:pk>/", requests.request, name="request"),
    path("requests/<uuid:pk>/similar/", similar.alike, name="similar"),
    path("requests/<uuid:pk>/decide/", requests.decide, name="decide"),
    path("requests/<uuid:pk>/edit/", editing.edit, name="edit"),
    path("requests/<uuid:pk>/undo/", requests.undo, name="undo"),
    path("requests/<uuid:pk>/always/", rules.always, name="always"),
    path("rules/", rules.rules, name="rules"),
    path("rules/<uuid:pk>/", rules.rule, name="rule"),
    path("rules/<uuid:pk>/revoke/", rules.revoke, name="revoke"),
    path("requests/<uuid:pk>/attention/", attention.attention, name="attention"),
    path("requests/<uuid:pk>/claim/", attention.claim, name="claim"),
    path("requests/<uuid:pk>/assign/", attention.assign, name="assign"),
    path("requests/<uuid:pk>/later/", attention.later, name="later"),
    path("requests/<uuid:pk>/look/", attention.look, name="look"),
]
