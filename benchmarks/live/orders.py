"""What the server of a benchmark does when told to. Needs Django set up."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from importlib import import_module
from typing import Any
from uuid import UUID

from asgiref.sync import sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.layers import get_channel_layer
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import Group, Permission, User
from django.db import transaction
from django.utils import timezone

from runs import timeline
from runs.live import markup
from runs.live.hub import get_hub
from runs.models import Conversation, EventKind, Run, RunStatus
from runs.services import record_event

PEOPLE = 500
PLAIN_GROUP = "plain"
TEXT = "The order was looked up; it is on its way and will arrive by Friday. " * 3


@dataclass(frozen=True, slots=True)
class World:
    """What there is to see, and the session of each who may."""

    run: UUID
    cookies: list[str]


@transaction.atomic
def make_world() -> World:
    """Return the run and the people; made once in a database."""
    if not Run.objects.exists():
        _make_run()
        _make_people()
    people = User.objects.order_by("pk")
    return World(Run.objects.get().pk, [_cookie(person) for person in people])


def _make_run() -> None:
    now = timezone.now()
    talk = Conversation.objects.create(agent_key="a", created_at=now, updated_at=now)
    Run.objects.create(
        conversation=talk,
        status=RunStatus.RUNNING,
        trigger=Run.Trigger.PAGE,
        agent_key="a",
        created_at=now,
        updated_at=now,
    )


def _make_people() -> None:
    followers = Group.objects.create(name="followers")
    followers.permissions.set(Permission.objects.filter(codename="follow_run"))
    people = User.objects.bulk_create(
        User(username=f"person{n}", password="!none") for n in range(PEOPLE)
    )
    followers.user_set.set(people)


def _cookie(person: User) -> str:
    session = import_module(settings.SESSION_ENGINE).SessionStore()
    session[SESSION_KEY] = str(person.pk)
    session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
    session[HASH_SESSION_KEY] = person.get_session_auth_hash()
    session.save()
    return f"{settings.SESSION_COOKIE_NAME}={session.session_key}"


class PlainConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]  # untyped base
    """As the tutorial of channels has it: a group, and every message sent on."""

    async def connect(self) -> None:
        await self.channel_layer.group_add(PLAIN_GROUP, self.channel_name)
        await self.accept()

    async def disconnect(self, code: int) -> None:
        await self.channel_layer.group_discard(PLAIN_GROUP, self.channel_name)

    async def plain_news(self, event: dict[str, Any]) -> None:
        await self.send(text_data=event["html"])


class Orders:
    """Each returns what there is to tell, which is told to the benchmark."""

    def __init__(self, run: UUID) -> None:
        self._run = run

    async def begin(self) -> None:
        """Do what `manage.py serve` does once it runs."""
        await get_hub().start()

    async def write(self, count: int, every_s: float, plain: bool) -> dict[str, Any]:
        """Write so many events; return when each was committed, by its number.

        Where `plain`, each is rendered here, once, and sent to the group.
        """
        committed: dict[int, float] = {}
        write = sync_to_async(self._write, thread_sensitive=False)
        due, began = time.monotonic(), time.process_time()
        for _ in range(count):
            html = await write(committed, plain)
            if plain:
                message = {"type": "plain.news", "html": html}
                await get_channel_layer().group_send(PLAIN_GROUP, message)
            due += every_s
            await asyncio.sleep(max(0, due - time.monotonic()))
        cpu_s = time.process_time() - began
        return {"committed": list(committed.items()), "cpu_s": cpu_s}

    def _write(self, committed: dict[int, float], plain: bool) -> str:
        raw = {"content": [{"type": "output_text", "text": TEXT}]}
        payload = {"type": "message", "agent": "Support", "raw": raw}
        with transaction.atomic():
            # Registered first: the moment before anybody is told.
            transaction.on_commit(lambda: committed.update({seq: time.monotonic()}))
            seq = record_event(self._run, EventKind.ITEM, payload)
        return self._rendered(seq) if plain else ""

    def _rendered(self, seq: int) -> str:
        (block,) = timeline.changes(self._run, after=seq - 1).blocks
        html = timeline.render_block(block, user=None)
        return markup.appended(self._run, html) + markup.cursor(self._run, seq)
