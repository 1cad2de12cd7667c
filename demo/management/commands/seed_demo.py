"""People, and conversations to begin with. Run again, it changes nothing."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import Group, User
from django.core.management.base import BaseCommand

from runs import services
from runs.models import Conversation, Run

PEOPLE = {"ada": "reviewers", "bob": "operators", "admin": ""}
CONVERSATIONS = (
    ("research", "How does Placet make sure that nothing runs twice?"),
    ("ops", "Which workers are stuck?"),
    ("desk", "Restart the stuck workers, please."),
    ("desk", "Alan returned order 1043. Please refund him, then e-mail him."),
    ("support", "Please refund order 1042, the machine arrived broken."),
)


class Command(BaseCommand):
    help = "Makes the demo's users and, in an empty database, a few conversations."

    def handle(self, **options: Any) -> None:
        people = {name: ensure_user(name, group) for name, group in PEOPLE.items()}
        if not Conversation.objects.exists():
            for agent_key, text in CONVERSATIONS:
                services.start_run(
                    agent_key, text, trigger=Run.Trigger.PAGE, requester=people["bob"]
                )
        self.stdout.write(
            "Sign in as ada/ada (reviewer), bob/bob (operator) or admin/admin."
        )


def ensure_user(name: str, group: str) -> User:
    """Return the user called `name`; made with the name as the password if missing."""
    boss = not group
    user, made = User.objects.get_or_create(
        username=name,
        defaults={
            "password": make_password(name),
            "is_staff": boss,
            "is_superuser": boss,
        },
    )
    if made and group:
        user.groups.add(Group.objects.get(name=group))
    return user
