"""What was decided on calls of one tool and schema is found without reading others."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = (("approvals", "0008_standing_rules"),)
    operations = (
        migrations.AddIndex(
            model_name="approvalrequest",
            index=models.Index(
                fields=["tool", "schema_hash", "status", "id"], name="request_alike"
            ),
        ),
    )
