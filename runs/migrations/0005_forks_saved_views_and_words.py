import django.db.models.deletion
import runs.ids
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("runs", "0004_run_queues_by_agent"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name="run",
            name="fork_seq",
            field=models.PositiveIntegerField(
                blank=True,
                help_text="The last row of its parent's log that a fork's history holds.",
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="runevent",
            name="search",
            field=models.TextField(
                db_default="", default="", help_text="The words of an item, for search."
            ),
        ),
        migrations.AlterField(
            model_name="run",
            name="trigger",
            field=models.CharField(
                choices=[
                    ("page", "Page"),
                    ("command", "Command"),
                    ("webhook", "Webhook"),
                    ("message", "Message"),
                    ("fork", "Fork"),
                    ("session", "session (recorded, not run here)"),
                ],
                max_length=20,
            ),
        ),
        migrations.CreateModel(
            name="SavedView",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=runs.ids.new_id,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("name", models.CharField(max_length=60)),
                (
                    "query",
                    models.CharField(
                        help_text="What stands behind the ?.", max_length=1000
                    ),
                ),
                ("created_at", models.DateTimeField()),
                (
                    "owner",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="saved_views",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "ordering": ("name",),
                "constraints": [
                    models.UniqueConstraint(
                        fields=("owner", "name"), name="saved_view_name_is_unique"
                    )
                ],
            },
        ),
        migrations.AddIndex(
            model_name="toolexecution",
            index=models.Index(
                condition=models.Q(("status__in", ["failed", "unknown"])),
                fields=["status", "permitted_by"],
                name="execution_gone_wrong",
            ),
        ),
        migrations.AddIndex(
            model_name="webhookdelivery",
            index=models.Index(fields=["received_at"], name="delivery_when"),
        ),
    ]
