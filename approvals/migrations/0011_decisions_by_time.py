from django.conf import settings
from django.db import migrations, models


def fill(apps, schema_editor):
    request = apps.get_model("approvals", "ApprovalRequest").objects
    asked = request.filter(pk=models.OuterRef("request_id")).values("tool")
    decisions = apps.get_model("approvals", "Decision").objects
    decisions.update(tool=models.Subquery(asked))


class Migration(migrations.Migration):
    dependencies = [
        ("approvals", "0010_escalation_preferences_and_notices"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name="decision",
            name="tool",
            field=models.CharField(
                db_default="",
                default="",
                editable=False,
                help_text="The request's, so that an index on it is in the order of time.",
                max_length=200,
            ),
        ),
        migrations.RunPython(fill, migrations.RunPython.noop),
        migrations.AddIndex(
            model_name="decision",
            index=models.Index(fields=["created_at", "id"], name="decision_when"),
        ),
        migrations.AddIndex(
            model_name="decision",
            index=models.Index(
                fields=["verdict", "created_at", "id"], name="decision_verdict"
            ),
        ),
        migrations.AddIndex(
            model_name="decision",
            index=models.Index(
                fields=["actor", "created_at", "id"], name="decision_actor"
            ),
        ),
        migrations.AddIndex(
            model_name="decision",
            index=models.Index(
                fields=["rule", "created_at", "id"], name="decision_rule"
            ),
        ),
        migrations.AddIndex(
            model_name="decision",
            index=models.Index(
                fields=["tool", "created_at", "id"], name="decision_tool"
            ),
        ),
    ]
