from __future__ import annotations

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
        ("approvals", "0006_hold_and_undo"),
    ]

    operations = [
        migrations.AlterField(
            model_name="approvalrequest",
            name="call",
            field=models.TextField(help_text="The call exactly as it would run, JSON."),
        ),
        migrations.AddField(
            model_name="approvalrequest",
            name="parameters",
            field=models.TextField(
                blank=True,
                default="",
                help_text="JSON schema of its arguments; empty: nobody can change them.",
            ),
        ),
        migrations.AddField(
            model_name="approvalrequest",
            name="summary_form",
            field=models.TextField(
                blank=True, default="", help_text="What the tool makes its summary of."
            ),
        ),
        migrations.AddField(
            model_name="approvalrequest",
            name="edited_by",
            field=models.ForeignKey(
                blank=True,
                help_text="Who put other arguments in the place of the model's.",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="edited_requests",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="approvalrequest",
            name="edit_reason",
            field=models.TextField(blank=True, default=""),
        ),
        migrations.AddField(
            model_name="approvalrequest",
            name="written",
            field=models.TextField(
                blank=True,
                default="",
                help_text="Of an edited call: what the model wrote, and its digest, JSON.",
            ),
        ),
        migrations.AddField(
            model_name="decision",
            name="stops_run",
            field=models.BooleanField(
                default=False, help_text="A rejection that ended the run with it."
            ),
        ),
        migrations.AddConstraint(
            model_name="approvalrequest",
            constraint=models.CheckConstraint(
                condition=Q(edited_by=None, written="")
                | Q(edited_by__isnull=False) & ~Q(written=""),
                name="edited_request_says_by_whom_and_of_what",
            ),
        ),
    ]
