"""Each verb, in each state, by each kind of person, over HTTP; and what cards offer."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.test import Client

from approvals.models import ApprovalRequest, Decision, RequestStatus
from approvals.presets import REJECT_PRESETS
from approvals.services import undo
from approvals.wording import NOT_AGAIN, REJECTED
from runs.engine import RunStopped
from runs.models import Run, RunStatus
from runs.services import send_message, steps
from tests.factories import make_user, pending, say
from tests.runs.test_steps import append

from .edits import asked, editable, edited, fields, signed_in

pytestmark = pytest.mark.django_db

DECIDED = ("approved", "rejected", "answered")
STATES = ("pending", *DECIDED, "superseded", "expired", "cancelled", "undone")
VERBS = ("approve", "reject", "reject and stop", "edit", "answer", "undo", "stop")
DECIDES = ("reviewer", "editor", "voter")
OPERATES = ("requester", "watcher", "superuser")
"""Who may stop runs."""
AFTER = {
    "approve": RequestStatus.APPROVED,
    "reject": RequestStatus.REJECTED,
    "reject and stop": RequestStatus.REJECTED,
    "edit": RequestStatus.SUPERSEDED,
    "answer": RequestStatus.ANSWERED,
}


class Scene:
    """A held run, whose call was edited and needs one more vote of three."""

    def __init__(self) -> None:
        both = ("reviewers", "finance")
        self.people: dict[str, User] = {
            "reviewer": make_user("reviewer", *both),
            "reviewer of another group": make_user("other", "reviewers", "sales"),
            "requester": make_user("requester", *both, "operators"),
            "speaker": make_user("speaker", *both),
            "editor": make_user("editor", *both),
            "voter": make_user("voter", *both),
            "watcher": make_user("watcher", "operators"),
            "stranger": make_user("stranger"),
            "superuser": make_user("root", is_superuser=True, is_staff=True),
        }
        self.decider = make_user("decider", *both)
        review = {"approvals": 3, "reviewers": "finance", "hold": timedelta(hours=1)}
        self.run, _, request = asked(editable(review=review))
        Run.objects.filter(pk=self.run.pk).update(requester=self.people["requester"])
        send_message(self.run.conversation_id, "Hi.", by=self.people["speaker"])
        self.card = edited(request, self.people["editor"])
        say("approve", self.card, self.people["voter"])

    def bring(self, state: str) -> None:
        verdict = {status: verdict for verdict, status in AFTER.items()}
        if state == "undone":
            say("approve", self.card, self.decider)
            undo(self.card.pk, by=self.decider)
        elif state in DECIDED:
            said = str(verdict[RequestStatus(state)]).removesuffix(" and stop")
            say(said, self.card, self.decider, output="42")
        else:
            ApprovalRequest.objects.filter(pk=self.card.pk).update(status=state)
        self.card.refresh_from_db()

    def post(self, verb: str, person: str) -> Any:
        client = signed_in(self.people[person]) if person in self.people else Client()
        at = f"/requests/{self.card.pk}"
        if verb == "stop":
            return client.post(f"/runs/{self.run.pk}/stop/")
        if verb == "undo":
            return client.post(f"{at}/undo/")
        if verb == "edit":
            return _edit(client, self.card)
        return client.post(f"{at}/decide/", _said(verb, self.card))


def _said(verb: str, card: ApprovalRequest) -> dict[str, str]:
    said = {"verdict": verb.removesuffix(" and stop"), "digest": card.digest}
    if verb == "answer":
        said["output"] = "42"
    return said | ({"stop": "on"} if verb == "reject and stop" else {})


def _edit(client: Client, card: ApprovalRequest) -> Any:
    at, posted = f"/requests/{card.pk}/edit/", fields(card, **{"arg-amount_eur": "7"})
    looked = client.post(at, posted)
    if looked.status_code != 200:
        return looked
    digest = _digest_in(looked)
    return client.post(at, posted | {"step": "send", "edited": digest})


def _digest_in(response: Any) -> str:
    found = re.search(r'name="edited" value="(\w+)"', response.content.decode())
    assert found
    return found[1]


def expected(verb: str, state: str, person: str) -> int:
    """What is answered; 302 to a signed-in person says that it was done."""
    if person == "signed out":
        return 302
    if person == "stranger":
        return 404
    if verb == "stop":
        return 302 if person in OPERATES else 403
    if verb == "undo":
        if state not in DECIDED:
            return 409
        return 302 if person in DECIDES else 403
    if state != "pending":
        return 409
    return 302 if person == "reviewer" else 403


@pytest.mark.parametrize("state", STATES)
def test_who_may_do_what_when(state: str) -> None:
    scene = Scene()
    scene.bring(state)
    told: dict[tuple[str, str], int] = {}
    wanted: dict[tuple[str, str], int] = {}

    for verb in VERBS:
        for person in [*scene.people, "signed out"]:
            with transaction.atomic():
                response = scene.post(verb, person)
                done = response.status_code == 302 and person != "signed out"
                _check_done(scene, verb, state, done=done)
                if person == "signed out":
                    assert response["Location"].startswith("/sign-in/")
                transaction.set_rollback(True)
            told[verb, person] = response.status_code
            wanted[verb, person] = expected(verb, state, person)

    assert told == wanted


def _check_done(scene: Scene, verb: str, state: str, *, done: bool) -> None:
    card = ApprovalRequest.objects.get(pk=scene.card.pk)
    run = Run.objects.get(pk=scene.run.pk)
    stops = done and verb in ("stop", "reject and stop")
    assert (run.stop_requested_at is not None) == stops
    if not done or verb == "stop":
        assert card.status == state
    elif verb == "undo":
        assert card.status == RequestStatus.UNDONE
    else:
        assert card.status == AFTER[verb]


# Votes


def test_the_card_shows_who_has_said_what() -> None:
    scene = Scene()

    page = signed_in(scene.people["reviewer"]).get(f"/requests/{scene.card.pk}/")

    text = " ".join(re.sub(r"<[^>]+>", " ", page.content.decode()).split())
    assert "2 of 3 approvals" in text
    assert "editor changed it and approved" in text
    assert "voter approved" in text


def test_one_rejection_ends_what_two_have_approved() -> None:
    scene = Scene()

    scene.post("reject", "reviewer")

    scene.card.refresh_from_db()
    assert scene.card.status == RequestStatus.REJECTED


# What a card offers


@pytest.mark.parametrize(
    ("person", "reason"),
    [
        ("requester", "You started this run"),
        ("speaker", "You have written to this run"),
        ("voter", "You have voted already"),
        ("reviewer of another group", "Only members of"),
        ("watcher", "You are not a reviewer"),
    ],
)
def test_what_is_not_allowed_is_there_disabled_with_the_reason(
    person: str, reason: str
) -> None:
    scene = Scene()

    page = signed_in(scene.people[person]).get(f"/requests/{scene.card.pk}/")

    html = page.content.decode()
    assert reason in html
    for words in ("Approve", "Edit…", "Reject…", "Answer…"):
        [button] = re.findall(rf"<button[^>]*>(?:<svg.*?</svg>)?{words}</button>", html)
        assert words in button
    disabled = re.findall(r"<button[^>]* disabled[^>]*aria-describedby=\"why", html)
    assert len(disabled) >= 4
    assert 'data-key="e"' not in html
    assert 'data-key="r"' not in html


def test_each_verb_has_its_key() -> None:
    scene = Scene()
    client = signed_in(scene.people["reviewer"])

    html = client.get(f"/requests/{scene.card.pk}/").content.decode()
    watcher = signed_in(scene.people["watcher"])
    watched = watcher.get(f"/requests/{scene.card.pk}/").content.decode()
    scene.bring("rejected")
    after = client.get(f"/requests/{scene.card.pk}/").content.decode()

    for key in ("a", "r", "e", "t", "1", "5"):
        assert html.count(f'data-key="{key}"') == 1
    assert watched.count('data-key="."') == 1
    assert after.count('data-key="z"') == 1


# Reject


@pytest.mark.parametrize(("preset", "words"), REJECT_PRESETS)
def test_a_preset_is_a_reason(preset: str, words: str) -> None:
    _, _, request = asked()
    client = signed_in(make_user("ada", "reviewers"))
    said = _said("reject", request) | {"preset": preset, "reason": "Ask Bob."}

    client.post(f"/requests/{request.pk}/decide/", said)

    assert Decision.objects.get().reason == f"{words}. Ask Bob."


def test_an_unknown_preset_decides_nothing_and_keeps_what_was_typed() -> None:
    _, _, request = asked()
    client = signed_in(make_user("ada", "reviewers"))
    said = _said("reject", request) | {"preset": "nope", "reason": "Ask Bob."}

    response = client.post(f"/requests/{request.pk}/decide/", said)

    assert response.status_code == 422
    assert "Ask Bob." in response.content.decode()
    assert not Decision.objects.exists()


def test_the_model_is_told_not_to_try_the_same_again() -> None:
    _, lease, request = asked()
    say("reject", request, make_user("ada", "reviewers"), reason="Amount too high")

    message = steps.verdicts(lease, [editable()]).verdicts["c1"].message

    assert message == f"{REJECTED} Reason: Amount too high\n{NOT_AGAIN}"


def test_reject_and_stop_is_one_commit_that_holds_nothing() -> None:
    run, _, request = asked(editable(review={"hold": timedelta(hours=1)}))
    Run.objects.update(status=RunStatus.WAITING, lease_owner="")

    say("reject", request, make_user("ada", "reviewers"), stop=True)

    run.refresh_from_db()
    request.refresh_from_db()
    assert (run.status, request.status) == (RunStatus.CANCELLED, RequestStatus.REJECTED)
    decision = Decision.objects.get()
    assert decision.stops_run
    assert decision.release_at == decision.created_at
    assert pending(run) == []


def test_what_was_approved_and_not_started_does_not_run_after_a_stop() -> None:
    run, lease, request = asked()
    append(run, lease, [editable(key="c2", call_id="c2")])
    other = ApprovalRequest.objects.get(call_key="c2")
    reviewer = make_user("ada", "reviewers")
    say("approve", request, reviewer)

    say("reject", other, reviewer, stop=True)

    with pytest.raises(RunStopped):
        steps.claim_call(lease, editable())
