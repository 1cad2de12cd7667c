"""What may be said to a request."""

from __future__ import annotations

from django.db import models


class Verdict(models.TextChoices):
    """What a person or a Rule may say; nothing else is ever read as one of these."""

    APPROVE = "approve"
    REJECT = "reject"
    ANSWER = "answer"
