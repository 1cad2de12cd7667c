"""What the demo's tools did: the outside world, as far as the demo has one."""

from __future__ import annotations

from django.db import models


class Effect(models.Model):
    """One effect of one tool call. A call made twice would be two rows."""

    tool = models.CharField(max_length=100)
    subject = models.CharField(
        max_length=200, help_text="An order, a worker, a branch."
    )
    amount_eur = models.DecimalField(
        max_digits=12, decimal_places=2, null=True, blank=True
    )
    detail = models.TextField(blank=True)
    idempotency_key = models.CharField(
        max_length=600, help_text="Which call of which run it was."
    )
    created_at = models.DateTimeField()

    class Meta:
        ordering = ("-id",)

    def __str__(self) -> str:
        return f"{self.tool} {self.subject}"
