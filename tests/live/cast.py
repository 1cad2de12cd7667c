"""Rows and sockets for the live tests."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from channels.testing import WebsocketCommunicator
from django.conf import settings
from django.contrib.auth.models import Permission, User
from django.db import transaction
from django.test import Client
from django.utils import timezone

from approvals import topics
from approvals.models import ApprovalRequest
from config.asgi import application
from runs import codec
from runs.live.pokes import poke, run_topic
from runs.models import Conversation, EventKind, Run, RunEvent, RunStatus

TIMEOUT_S = 60


def make_user(name: str, *permissions: str) -> User:
    user = User.objects.create_user(name, password=name)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return user


def make_run(owner: User | None = None) -> Run:
    now = timezone.now()
    conversation = Conversation.objects.create(
        agent_key="support", owner=owner, created_at=now, updated_at=now
    )
    return Run.objects.create(
        conversation=conversation,
        status=RunStatus.RUNNING,
        trigger=Run.Trigger.PAGE,
        requester=owner,
        agent_key="support",
        created_at=now,
        updated_at=now,
    )


def log(run: Run, kind: EventKind, payload: dict[str, Any], call_key: str = "") -> int:
    """Write one event as services do, without a poke; returns its seq."""
    with transaction.atomic():
        seq: int = Run.objects.values_list("last_seq", flat=True).get(pk=run.pk) + 1
        RunEvent.objects.create(
            run=run,
            seq=seq,
            kind=kind,
            call_key=call_key,
            payload=codec.dumps(payload),
            created_at=timezone.now(),
        )
        Run.objects.filter(pk=run.pk).update(last_seq=seq)
    return seq


def say(run: Run, *texts: str, pokes: bool = True) -> None:
    """Log inputs, each in a transaction of its own."""
    for text in texts:
        raw = {"role": "user", "content": text}
        log(run, EventKind.ITEM, {"type": "input", "agent": "", "raw": raw})
        if pokes:
            poke(run_topic(run.pk))


def answer(run: Run, text: str, *, turn: int) -> None:
    """Log a model's complete answer, as one step does."""
    raw = {
        "type": "message",
        "role": "assistant",
        "content": [{"type": "output_text", "text": text}],
    }
    log(run, EventKind.ITEM, {"type": "message", "agent": "Support", "raw": raw})
    log(run, EventKind.RESPONSE, {"turn": turn, "response_id": "r", "usage": {}})
    poke(run_topic(run.pk))


def make_request(run: Run, call_key: str = "call_1") -> ApprovalRequest:
    now = timezone.now()
    arguments = '{"order":"1042"}'
    call = {"tool": "refund", "call_id": call_key, "arguments": {"order": "1042"}}
    return ApprovalRequest.objects.create(
        run=run,
        call_key=call_key,
        tool="refund",
        agent_path="Support",
        call=codec.dumps(call),
        arguments=arguments,
        schema_hash="0" * 64,
        digest="1" * 64,
        summary=f"Refund for {call_key}",
        why="the tool asks for approval",
        created_at=now,
        updated_at=now,
    )


def change_request(request: ApprovalRequest, status: str) -> None:
    ApprovalRequest.objects.filter(pk=request.pk).update(
        status=status, updated_at=timezone.now(), decided_at=timezone.now()
    )
    poke(topics.QUEUE)


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def open_socket(
    path: str, client: Client | None = None, origin: str = "http://localhost"
) -> WebsocketCommunicator:
    headers = [(b"origin", origin.encode()), (b"host", b"localhost")]
    if client is not None:
        key = client.cookies[settings.SESSION_COOKIE_NAME].value
        headers.append((b"cookie", f"{settings.SESSION_COOKIE_NAME}={key}".encode()))
    return WebsocketCommunicator(application, path, headers=headers)


def run_path(run: Run, after: int = 0) -> str:
    return f"/ws/runs/{run.pk}/?after={after}"


def _untagged(html: str) -> str:
    return re.sub(r"<[^>]+>", "", html)


class Page:
    """What a browser would hold that swaps the messages of a run's socket."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.appended: list[int] = []
        self.replaced: list[int] = []
        self.seq = 0
        self.text = ""

    async def read(self, socket: WebsocketCommunicator) -> str:
        html: str = await socket.receive_from(TIMEOUT_S)
        for row in re.findall(r"<li[^>]*>", html):
            found = re.search(rf'id="block-{self.run.pk}-(\d+)"', row)
            if found:
                swapped = "hx-swap-oob" in row
                (self.replaced if swapped else self.appended).append(int(found[1]))
        for seq in re.findall(rf'id="cursor-{self.run.pk}" data-after="(\d+)"', html):
            self.seq = int(seq)
        self._read_text(html)
        return html

    def _read_text(self, html: str) -> None:
        whole = rf'<div id="writing-{self.run.pk}" hx-swap-oob="innerHTML">(.*?)</div>'
        more = rf'<span hx-swap-oob="beforeend:#writing-{self.run.pk}">(.*?)</span>'
        if found := re.search(whole, html, re.S):
            self.text = _untagged(found[1])
        for part in re.findall(more, html, re.S):
            self.text += _untagged(part)

    async def read_to(self, socket: WebsocketCommunicator, seq: int) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            while self.seq < seq:
                await self.read(socket)

    async def read_until_text(self, socket: WebsocketCommunicator, text: str) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            while self.text != text:
                await self.read(socket)
