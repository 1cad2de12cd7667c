import json

from django.db import migrations

from runs.search import words_of_item

BATCH = 500


def fill(apps, schema_editor):
    events = apps.get_model("runs", "RunEvent").objects
    last = 0
    while rows := list(events.filter(kind="item", pk__gt=last).order_by("pk")[:BATCH]):
        for row in rows:
            row.search = words_of_item(json.loads(row.payload))
        events.bulk_update(rows, ["search"])
        last = rows[-1].pk


class Migration(migrations.Migration):
    dependencies = [("runs", "0005_forks_saved_views_and_words")]

    operations = [migrations.RunPython(fill, migrations.RunPython.noop)]
