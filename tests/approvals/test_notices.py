"""Who is told of what waits for them, when, how often, and what is never told."""

from __future__ import annotations

import smtplib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth.models import User
from django.core import mail
from django.core.mail import EmailMessage
from django.core.mail.backends.locmem import EmailBackend
from django.test import Client
from django.utils import timezone

from approvals import notices, postman
from approvals.checks import check_mail
from approvals.models import ApprovalRequest, Notice, Preferences
from approvals.services import (
    escalate_due,
    save_preferences,
    snooze,
    tell_due,
    unsnooze,
)
from approvals.services.notices import (
    MAX_ATTEMPTS,
    start_digest,
    take,
    tell,
    to_be_mailed,
)
from runs.engine import Review
from runs.gate import gate
from runs.models import Run
from runs.services import lease as leases
from runs.services import stop_run
from tests.approvals.test_races import contest
from tests.factories import ada, bob, make_user, say
from tests.runs.test_steps import make_call, proposed

pytestmark = pytest.mark.django_db

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
NOT_TOLD = "4711-SECRET"


@pytest.fixture(autouse=True)
def mail_is_on(settings: Any) -> None:
    settings.PLACET_MAIL_FROM = "Placet <placet@example.com>"
    settings.EMAIL_HOST = "mail.example.com"
    settings.PLACET_SITE = "https://placet.example.com"


@pytest.fixture
def server() -> Iterator[type[Refusing]]:
    """A mail server that can be told to fail."""
    Refusing.fails_on_open = Refusing.fails_on_send = None
    yield Refusing
    Refusing.fails_on_open = Refusing.fails_on_send = None


class Refusing(EmailBackend):
    fails_on_open: Exception | None = None
    fails_on_send: Exception | None = None

    def open(self) -> bool:
        if self.fails_on_open:
            raise self.fails_on_open
        return True

    def send_messages(self, messages: Sequence[EmailMessage]) -> int:
        if self.fails_on_send:
            raise self.fails_on_send
        return super().send_messages(messages)


def asked(by: User | None = None, **changes: Any) -> ApprovalRequest:
    call = make_call(f'{{"order_id": "{NOT_TOLD}"}}', **changes)
    _, lease, request = proposed(call)
    leases.park(lease)
    Run.objects.filter(pk=request.run_id).update(requester=by)
    return request


def mailed(name: str, *groups: str, **chosen: Any) -> User:
    """Somebody of these groups who wants mail."""
    person = make_user(name, *groups, email=f"{name}@example.com")
    save_preferences(person, **{"email": True, **chosen})
    return person


def pass_by(after: timedelta, start: datetime | None = None) -> int:
    """What the sweeper does so long after `start`; return how many mails went out."""
    now = (start or timezone.now()) + after
    tell_due(now)
    return postman.send_due(now)


def to() -> list[str]:
    return sorted(address for sent in mail.outbox for address in sent.to)


# Whom, and when


def test_mail_goes_out_when_it_has_waited_long_enough() -> None:
    mailed("ada", "reviewers")
    asked(by=bob())

    assert pass_by(4 * MINUTE) == 0
    assert pass_by(6 * MINUTE) == 1
    assert pass_by(60 * MINUTE) == 0

    [sent] = mail.outbox
    assert sent.to == ["ada@example.com"]
    assert sent.from_email == "Placet <placet@example.com>"
    assert sent.subject == "Placet: refund (medium risk) waits for you"
    assert "Asked for by bob" in sent.body
    request = ApprovalRequest.objects.get()
    assert f"https://placet.example.com/requests/{request.pk}/" in sent.body


def test_only_who_decides_it_and_wants_mail_is_told() -> None:
    requester = mailed("req", "reviewers", "finance")
    speaker = mailed("spoke", "reviewers", "finance")
    mailed("fin", "reviewers", "finance")
    mailed("other", "reviewers")
    mailed("norights", "finance")
    mailed("quiet", "reviewers", "finance", email=False)
    gone = mailed("gone", "reviewers", "finance")
    User.objects.filter(pk=gone.pk).update(is_active=False)
    bad = mailed("bad", "reviewers", "finance")
    User.objects.filter(pk=bad.pk).update(email="a@example.com\nBcc: eve@example.com")
    request = asked(by=requester, review=Review(reviewers="finance"))
    request.run.speakers.add(speaker)

    pass_by(6 * MINUTE)

    assert to() == ["fin@example.com"]


def test_who_has_voted_is_not_told_again() -> None:
    person = mailed("ada", "reviewers")
    mailed("cyd", "reviewers")
    request = asked(review=Review(approvals=2))
    say("approve", request, person)

    pass_by(6 * MINUTE)

    assert to() == ["cyd@example.com"]


@pytest.mark.parametrize("ends", ["decided", "stopped"])
def test_what_is_decided_meanwhile_is_dropped(ends: str) -> None:
    mailed("ada", "reviewers")
    request = asked()
    now = timezone.now() + 6 * MINUTE
    assert tell(request.pk, now=now)

    if ends == "decided":
        say("reject", request, make_user("cyd", "reviewers"))
    else:
        stop_run(request.run_id, by=None)

    assert postman.send_due(now) == 0
    assert not Notice.objects.exists()
    assert mail.outbox == []


def test_what_a_person_put_off_is_told_when_it_comes_back() -> None:
    ada, eve = mailed("ada", "reviewers"), mailed("eve", "reviewers")
    request = asked(by=bob())
    now = timezone.now()
    snooze(request.pk, until=now + 20 * MINUTE, by=ada)

    assert notices.waiting(ada, now).count == 0
    assert notices.waiting(eve, now).count == 1
    pass_by(6 * MINUTE)
    assert to() == ["eve@example.com"]
    assert to_be_mailed(now + 7 * MINUTE) == []
    pass_by(21 * MINUTE)
    assert to() == ["ada@example.com", "eve@example.com"]
    assert notices.waiting(ada, now + 21 * MINUTE).count == 1


def test_what_is_had_back_is_told_at_once() -> None:
    ada = mailed("ada", "reviewers")
    request = asked(by=bob())
    snooze(request.pk, until=timezone.now() + 24 * HOUR, by=ada)
    pass_by(6 * MINUTE)
    assert to() == []

    unsnooze(request.pk, by=ada)

    pass_by(7 * MINUTE)
    assert to() == ["ada@example.com"]


def test_what_ends_soon_is_told_although_it_was_put_off() -> None:
    ada = mailed("ada", "reviewers")
    request = asked(by=bob(), review=Review(expires_after=timedelta(minutes=90)))
    now = timezone.now()
    snooze(request.pk, until=now + 24 * HOUR, by=ada)

    pass_by(6 * MINUTE)
    assert to() == []
    pass_by(31 * MINUTE)
    assert to() == ["ada@example.com"]


def test_the_digest_leaves_out_what_was_put_off() -> None:
    ada = mailed("ada", "reviewers", email=False, digest=True)
    request = asked(by=bob())
    day = timezone.now() + timedelta(days=1)
    snooze(request.pk, until=day + timedelta(days=1), by=ada)
    Preferences.objects.update(digest_at=day)

    start_digest(ada.pk, now=day)

    assert not Notice.objects.exists()


def test_who_changes_their_mind_is_not_mailed() -> None:
    person = mailed("ada", "reviewers")
    request = asked()
    now = timezone.now() + 6 * MINUTE
    tell(request.pk, now=now)

    save_preferences(person, email=False)

    assert postman.send_due(now) == 0


def test_without_a_sender_nothing_is_kept_or_sent(settings: Any) -> None:
    settings.PLACET_MAIL_FROM = ""
    mailed("ada", "reviewers")
    request = asked()

    gate().look_after(timezone.now() + HOUR)

    assert request.tell_at is None
    assert not Notice.objects.exists()


def test_half_way_to_its_end_there_is_a_reminder() -> None:
    mailed("ada", "reviewers")
    asked(review=Review(expires_after=2 * HOUR))

    assert [pass_by(6 * MINUTE), pass_by(50 * MINUTE), pass_by(61 * MINUTE)] == [
        1,
        0,
        1,
    ]
    assert "Half of its time is over." in mail.outbox[1].body
    assert pass_by(100 * MINUTE) == 0


def test_who_is_escalated_to_is_told_at_once() -> None:
    mailed("lea", "reviewers", "leads")
    mailed("fin", "reviewers", "finance")
    asked(
        review=Review(reviewers="finance", escalate_after=MINUTE, escalate_to="leads")
    )
    now = timezone.now() + 2 * MINUTE

    assert escalate_due(now) == 1

    assert postman.send_due(now) == 1
    assert to() == ["lea@example.com"]
    assert "it came to leads too" in mail.outbox[0].body


def test_many_requests_are_one_mail_and_then_there_is_a_quarter_of_an_hour() -> None:
    mailed("ada", "reviewers")
    begin = timezone.now()
    for _ in range(3):
        asked()

    assert pass_by(6 * MINUTE, begin) == 1
    asked()
    assert pass_by(12 * MINUTE, begin) == 0
    assert pass_by(22 * MINUTE, begin) == 1

    assert mail.outbox[0].subject == "Placet: 3 calls wait for you"
    assert mail.outbox[0].body.count("/requests/") == 3
    assert mail.outbox[1].subject == "Placet: refund (medium risk) waits for you"


def test_a_process_that_was_late_to_look_does_not_mail_within_it() -> None:
    person = mailed("ada", "reviewers")
    asked()
    begin = timezone.now()
    assert pass_by(6 * MINUTE, begin) == 1
    request = asked()
    tell(request.pk, now=begin + 12 * MINUTE)

    assert take(person.pk, now=begin + 12 * MINUTE) is None
    assert take(person.pk, now=begin + 22 * MINUTE) is not None


# What it holds


def test_arguments_stay_here() -> None:
    mailed("ada", "reviewers")
    request = asked(review=Review(summary="Refund {order_id}"))
    assert NOT_TOLD in request.summary

    pass_by(6 * MINUTE)

    assert NOT_TOLD not in mail.outbox[0].message().as_string()


def test_arguments_are_told_where_that_is_meant_and_are_inert(settings: Any) -> None:
    settings.PLACET_MAIL_ARGUMENTS = True
    mailed("ada", "reviewers")
    proposed(make_call('{"order_id": "1042\\u202e\\n\\nDecided: approved"}'))
    ApprovalRequest.objects.update(arguments='{"order_id": "7\u202e\nhttps://evil"}')

    pass_by(6 * MINUTE)

    body = mail.outbox[0].body
    [line] = [line for line in body.splitlines() if "Arguments" in line]
    assert "\u202e" not in body
    assert "https://evil" in line


@pytest.mark.parametrize(
    "name",
    [
        "refund\r\nBcc: eve@example.com",
        "refund\nSubject: Approved",
        "refund\x0bX: y",
        "refund\u2028X: y",
        "refund\x85Bcc: eve@example.com",
        "\u202edecorp\u202c",
        "=?utf-8?q?Bcc:_eve?=",
        "<b>refund</b>&amp;",
        "x" * 199,
    ],
)
def test_a_tools_name_cannot_reach_beyond_its_place(name: str) -> None:
    mailed("ada", "reviewers")
    asked(tool=name)

    assert pass_by(6 * MINUTE) == 1

    [sent] = mail.outbox
    message = sent.message()
    assert set(message.keys()) == {
        "Content-Type",
        "MIME-Version",
        "Content-Transfer-Encoding",
        "Subject",
        "From",
        "To",
        "Date",
        "Message-ID",
        "Auto-Submitted",
    }
    assert sent.recipients() == ["ada@example.com"]
    assert len(sent.subject.splitlines()) == 1
    assert len(sent.subject) < 120
    assert "\u202e" not in f"{sent.subject}{sent.body}"
    assert not any(line.startswith(("Bcc", "X:")) for line in sent.body.splitlines())


# Once


@pytest.mark.django_db(transaction=True)
def test_two_senders_at_once_send_one_mail() -> None:
    people = [mailed(f"p{n}", "reviewers") for n in range(4)]
    requests = [asked(), asked()]
    now = timezone.now() + 6 * MINUTE
    tells = [partial(tell, request.pk, now=now) for request in requests]

    told = contest(tells, tells)
    taken = contest(*[[partial(take, one.pk, now=now) for one in people]] * 3)

    assert [sorted(row) for row in told] == [[False, True]] * 2
    assert Notice.objects.count() == 8
    letters = [[one for one in row if one is not None] for row in taken]
    assert [len(row) for row in letters] == [1] * 4
    assert [len(row[0].requests) for row in letters] == [2] * 4


def test_a_mail_that_was_taken_and_never_sent_is_lost_and_never_doubled() -> None:
    person = mailed("ada", "reviewers")
    request = asked()
    now = timezone.now() + 6 * MINUTE
    tell(request.pk, now=now)
    assert take(person.pk, now=now)  # and here the process ends

    assert [pass_by(hours * HOUR) for hours in range(1, 4)] == [0, 0, 0]


@pytest.mark.parametrize(
    "refused",
    [
        {"fails_on_open": ConnectionRefusedError("nobody there")},
        {"fails_on_send": smtplib.SMTPDataError(451, b"later")},
        {"fails_on_send": smtplib.SMTPRecipientsRefused({})},
    ],
)
def test_a_refused_mail_is_tried_again_later_and_later(
    server: type[Refusing], settings: Any, refused: dict[str, Exception], caplog: Any
) -> None:
    settings.EMAIL_BACKEND = f"{__name__}.Refusing"
    mailed("ada", "reviewers")
    request = asked()
    for name, error in refused.items():
        setattr(server, name, error)
    at = timezone.now() + 6 * MINUTE
    tell(request.pk, now=at)
    waits = []

    for _ in range(3):
        assert postman.send_due(at) == 0
        due = Notice.objects.get().due
        assert postman.send_due(due - timedelta(seconds=1)) == 0
        waits.append((due - at) // MINUTE)
        at = due
    server.fails_on_open = server.fails_on_send = None

    assert waits == [1, 2, 4]
    assert "tried again" in caplog.text
    assert NOT_TOLD not in caplog.text
    assert postman.send_due(at) == 1
    assert to() == ["ada@example.com"]


def test_a_server_that_always_refuses_is_given_up_on(
    server: type[Refusing], settings: Any
) -> None:
    settings.EMAIL_BACKEND = f"{__name__}.Refusing"
    server.fails_on_send = smtplib.SMTPDataError(550, b"never")
    mailed("ada", "reviewers")
    request = asked()
    at = timezone.now() + 6 * MINUTE
    tell(request.pk, now=at)

    for _ in range(MAX_ATTEMPTS):
        postman.send_due(at)
        at += 3 * HOUR

    assert not Notice.objects.exists()


def test_a_mail_that_may_have_been_sent_is_not_sent_again(
    server: type[Refusing], settings: Any, caplog: Any
) -> None:
    settings.EMAIL_BACKEND = f"{__name__}.Refusing"
    server.fails_on_send = TimeoutError("after the text was sent")
    mailed("ada", "reviewers")
    asked()

    assert pass_by(6 * MINUTE) == 0
    server.fails_on_send = None
    assert pass_by(60 * MINUTE) == 0
    assert "may have been sent" in caplog.text


def test_one_who_cannot_be_mailed_does_not_hold_up_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = mailed("ada", "reviewers")
    mailed("cyd", "reviewers")
    asked()
    write = postman.message

    def fails_for_the_first(letter: Any) -> EmailMessage:
        if letter.person == first:
            raise ValueError("cannot be written")
        return write(letter)

    monkeypatch.setattr(postman, "message", fails_for_the_first)

    assert pass_by(6 * MINUTE) == 1
    assert to() == ["cyd@example.com"]


@pytest.mark.django_db(transaction=True)
def test_the_sweeper_has_it_sent_beside_itself() -> None:
    mailed("ada", "reviewers")
    asked()
    now = timezone.now() + 6 * MINUTE
    tell_due(now)

    thread = postman.send_soon(now)
    assert thread is not None
    thread.join(20)

    assert to() == ["ada@example.com"]
    assert postman.send_soon(now) is None


# The digest


@pytest.mark.parametrize(
    ("zone", "after", "at"),
    [
        ("UTC", "2026-03-01T07:59", "2026-03-01T08:00"),
        ("UTC", "2026-03-01T08:00", "2026-03-02T08:00"),
        ("Asia/Kathmandu", "2026-03-01T01:00", "2026-03-01T02:15"),
        # The clocks change: it is eight o'clock by the wall each day.
        ("Europe/Berlin", "2026-03-28T08:00", "2026-03-29T06:00"),
        ("Europe/Berlin", "2026-10-24T08:00", "2026-10-25T07:00"),
    ],
)
def test_the_digest_comes_at_the_hour_of_the_wall(
    zone: str, after: str, at: str
) -> None:
    found = notices.next_digest(ZoneInfo(zone), 8, after=moment(after))

    assert found == moment(at)


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_the_digest_tells_once_a_day_of_what_is_overdue() -> None:
    person = mailed("ada", "reviewers", email=False, digest=True)
    old, _new = asked(), asked()
    chosen = Preferences.objects.get(person=person)
    first = chosen.digest_at
    assert first is not None
    ApprovalRequest.objects.filter(pk=old.pk).update(created_at=first - 5 * HOUR)
    ApprovalRequest.objects.exclude(pk=old.pk).update(created_at=first - HOUR)
    day = timedelta(days=1)

    sent = [pass_by(at, first) for at in (-MINUTE, timedelta(0), HOUR, day, 2 * day)]

    assert sent == [0, 1, 0, 1, 1]
    assert mail.outbox[0].body.count("/requests/") == 1
    assert "Overdue." in mail.outbox[0].body


@pytest.mark.django_db(transaction=True)
def test_two_processes_begin_a_digest_once() -> None:
    people = [mailed(f"p{n}", "reviewers", digest=True) for n in range(4)]
    now = timezone.now() + timedelta(days=2)
    jobs = [partial(start_digest, person.pk, now=now) for person in people]

    told = contest(jobs, jobs)

    assert [sorted(row) for row in told] == [[False, True]] * 4


# In the browser


def test_a_page_is_told_what_waits_for_its_reader_and_no_arguments() -> None:
    reviewer = ada()
    mine, theirs = asked(by=bob()), asked(by=reviewer)
    client = Client()
    client.force_login(reviewer)

    answer = client.get("/settings/waiting/")

    assert answer.json() == {
        "count": 1,
        "newest": [{"id": str(mine.pk), "line": "refund (medium risk)"}],
    }
    assert str(theirs.pk) not in answer.content.decode()
    assert NOT_TOLD not in answer.content.decode()
    assert answer["Cache-Control"] == "no-store"


def test_who_decides_nothing_is_told_of_nothing() -> None:
    asked()
    client = Client()
    assert client.get("/settings/waiting/").status_code == 302
    client.force_login(make_user("eve"))

    assert client.get("/settings/waiting/").json() == {"count": 0, "newest": []}


def test_what_was_just_escalated_is_news_however_old_it_is() -> None:
    lea = make_user("lea", "reviewers", "leads")
    old = asked(
        review=Review(reviewers="finance", escalate_after=HOUR, escalate_to="leads")
    )
    for _ in range(notices.NEWEST + 1):
        asked()
    now = timezone.now() + HOUR
    assert str(old.pk) not in dict(notices.waiting(lea, now).newest)

    escalate_due(now + MINUTE)

    assert notices.waiting(lea, now).newest[0][0] == str(old.pk)


def test_it_costs_the_same_however_much_waits(django_assert_num_queries: Any) -> None:
    reviewer = ada()
    asked()
    for count in (1, 3):
        while ApprovalRequest.objects.count() < count:
            asked()
        with django_assert_num_queries(3):
            assert notices.waiting(reviewer, timezone.now()).count == count


# How it is set up


@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        ({}, []),
        ({"PLACET_MAIL_FROM": "", "EMAIL_HOST": ""}, []),
        ({"EMAIL_HOST": ""}, ["approvals.E002"]),
        ({"PLACET_MAIL_FROM": ""}, ["approvals.E002"]),
        ({"PLACET_MAIL_FROM": "Placet"}, ["approvals.E003"]),
        ({"PLACET_MAIL_FROM": "a@b.com\nBcc: c@d.com"}, ["approvals.E003"]),
        ({"PLACET_MAIL_SECURITY": "ssl"}, ["approvals.E004"]),
        ({"EMAIL_HOST_USER": "placet"}, ["approvals.E005"]),
        ({"PLACET_SITE": "placet.example.com"}, ["approvals.E006"]),
        (
            {"PLACET_SITE": "http://127.0.0.1:8000", "HTTPS": True},
            ["approvals.W001"],
        ),
        ({"PLACET_MAIL_SECURITY": "none"}, ["approvals.W002"]),
        ({"PLACET_MAIL_ARGUMENTS": True}, ["approvals.W003"]),
        ({"PLACET_MAIL_AFTER": -MINUTE}, ["approvals.E001"]),
    ],
)
def test_what_is_unsafe_or_half_set_is_said(
    settings: Any, wrong: dict[str, Any], found: list[str]
) -> None:
    for name, value in wrong.items():
        setattr(settings, name, value)

    assert [message.id for message in check_mail()] == found


def test_a_letter_names_each_request_once() -> None:
    person = mailed("ada", "reviewers", digest=True)
    request = asked()
    now = timezone.now() + 6 * MINUTE
    escalated = Notice.Kind.ESCALATED
    for kind in (Notice.Kind.WAITING, escalated, Notice.Kind.DIGEST):
        Notice.objects.create(request=request, person=person, kind=kind, due=now)

    letter = take(person.pk, now=now)

    assert letter is not None
    assert letter.requests == [(request, escalated)]
