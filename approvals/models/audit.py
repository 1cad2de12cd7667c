"""The audit trail's links."""

from __future__ import annotations

from django.db import models


class AuditEntry(models.Model):
    """A link of a hash chain: one chain a run."""

    chain = models.CharField(max_length=100)
    seq = models.PositiveIntegerField()
    actor = models.CharField(max_length=200)
    action = models.CharField(max_length=50)
    object_id = models.CharField(max_length=100)
    payload = models.TextField(help_text="What was recorded, JSON.")
    previous_hash = models.CharField(max_length=64)
    hash = models.CharField(max_length=64)
    created_at = models.DateTimeField()

    class Meta:
        ordering = ("chain", "seq")
        verbose_name_plural = "audit entries"
        constraints = (
            models.UniqueConstraint(
                fields=("chain", "seq"), name="audit_seq_is_unique"
            ),
        )

    def __str__(self) -> str:
        return f"{self.chain}/{self.seq} {self.action}"
