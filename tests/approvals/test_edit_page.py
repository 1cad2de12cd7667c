"""The form of an edit: what is typed is what runs, or it is refused and kept."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest
from django.test import Client

from approvals.editing import arguments_of, values_in, written_as
from approvals.models import ApprovalRequest, Decision, RequestStatus, Vote
from runs.engine import function_tool
from tests.factories import ada, make_user
from tests.runs.test_steps import proposed

from .edits import ARGUMENTS, WHY, asked, editable, edited, fields, signed_in

pytestmark = pytest.mark.django_db


@function_tool(needs_approval=True, strict_mode=False)
async def send(
    to: str, body: str, urgent: bool, copies: int, tags: list[str], note: str = ""
) -> str:
    """Send a letter."""
    return "sent"


def at(request: ApprovalRequest) -> str:
    return f"/requests/{request.pk}/edit/"


def digest_in(response: Any) -> str:
    found = re.search(r'name="edited" value="(\w+)"', response.content.decode())
    assert found
    return found[1]


def refused(response: Any, request: ApprovalRequest, told: str) -> None:
    html = response.content.decode()
    assert (response.status_code, told in html) == (422, True)
    request.refresh_from_db()
    assert request.is_pending
    assert not Vote.objects.exists()


def test_an_edit_is_looked_at_and_then_sent() -> None:
    _, _, request = asked()
    client = signed_in(ada())
    posted = fields(request)

    form = client.get(at(request)).content.decode()
    looked = client.post(at(request), posted)
    request.refresh_from_db()
    assert request.is_pending
    sent = client.post(
        at(request), posted | {"step": "send", "edited": digest_in(looked)}
    )

    assert 'value="480.00"' in form
    html = looked.content.decode()
    assert "480.00</bdi></del>" in html
    assert "48.00</bdi></ins>" in html
    after = ApprovalRequest.objects.get(revision=2)
    assert sent["Location"] == after.get_absolute_url()
    assert after.call_arguments == '{"order_id": "1042", "amount_eur": 48.00}'
    page = client.get(sent["Location"]).content.decode()
    assert "Changed by ada" in page
    assert WHY in page
    assert "480.00</bdi></del>" in page
    old = client.get(request.get_absolute_url()).content.decode()
    assert after.get_absolute_url() in old


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"tool": "ship"}, "The tool of a call cannot be changed"),
        ({"arg-to": "me"}, "That is no argument of this tool"),
        ({"verdict": "approve"}, "That is no argument of this tool"),
        ({"arg-amount_eur": "abc"}, "Write a number"),
        ({"arg-amount_eur": "NaN"}, "Write a number"),
        ({"arg-amount_eur": "1e400"}, "too large"),
        ({"arg-amount_eur": "1, &quot;to&quot;: 2"}, "Write a number"),
        ({"arg-amount_eur": '1, "order_id": "9"'}, "Write a number"),
        ({"arg-amount_eur": "480.00"}, "Nothing is changed"),
        ({"reason": " "}, "Write why you change it"),
        ({"reason": "x" * 4001}, "at most 4000"),
        ({"digest": ""}, "digest of the call is missing"),
    ],
)
def test_what_is_not_right_is_said_and_what_was_typed_kept(
    changes: dict[str, str], told: str
) -> None:
    _, _, request = asked()

    response = signed_in(ada()).post(at(request), fields(request, **changes))

    if changes.get("digest") == "":
        assert response.status_code in (409, 422)
        return
    refused(response, request, told)
    assert ">\n1042</textarea>" in response.content.decode()


def test_an_argument_given_twice_is_refused() -> None:
    _, _, request = asked()
    posted: dict[str, Any] = fields(request) | {"arg-amount_eur": ["1", "2"]}

    response = signed_in(ada()).post(at(request), posted)

    refused(response, request, "given twice")


def test_what_was_not_looked_at_is_not_sent() -> None:
    _, _, request = asked()
    client = signed_in(ada())
    looked = client.post(at(request), fields(request))
    other = fields(request, **{"arg-amount_eur": "479"})
    send_it = {"step": "send", "edited": digest_in(looked)}

    response = client.post(at(request), other | send_it)

    refused(response, request, "Look at it, then approve it")
    refused(client.post(at(request), other | {"step": "send"}), request, "Look at it")


def test_an_edit_of_a_call_that_has_changed_is_a_409() -> None:
    _, _, request = asked()
    client = signed_in(ada())

    stale = client.post(at(request), fields(request, digest="0" * 64))
    edited(request, make_user("carl", "reviewers"))
    late = client.post(at(request), fields(request))

    assert (stale.status_code, late.status_code) == (409, 409)
    assert "already superseded" in late.content.decode()


def test_an_edit_sent_twice_is_one() -> None:
    _, _, request = asked()
    client = signed_in(ada())
    looked = client.post(at(request), fields(request))
    posted = fields(request, step="send", edited=digest_in(looked))

    first = client.post(at(request), posted)
    second = client.post(at(request), posted)

    assert (first.status_code, second.status_code) == (302, 409)
    assert Decision.objects.count() == 1


def test_warnings_of_the_changed_call_are_acknowledged() -> None:
    _, _, request = asked()
    client = signed_in(ada())
    hidden = fields(request, **{"arg-order_id": "10\u202e42"})
    looked = client.post(at(request), hidden)
    posted = hidden | {"step": "send", "edited": digest_in(looked)}

    refused(client.post(at(request), posted), request, "Tick that you have seen")
    sent = client.post(at(request), posted | {"ack": "on"})

    assert sent.status_code == 302
    assert ApprovalRequest.objects.get(revision=2).warnings == 1


def test_strangers_find_no_form_and_others_the_reason() -> None:
    _, _, request = asked()

    nobody = Client().get(at(request))
    stranger = signed_in(make_user("eve")).get(at(request))
    watcher = signed_in(make_user("bob", "operators")).get(at(request))

    assert nobody["Location"].startswith("/sign-in/")
    assert stranger.status_code == 404
    assert watcher.status_code == 403
    assert "You are not a reviewer" in watcher.content.decode()


def test_a_form_in_place_is_the_card() -> None:
    _, _, request = asked()
    client = signed_in(ada())

    part = client.get(at(request), headers={"hx-request": "true"}).content.decode()
    wrong = client.post(
        at(request),
        fields(request, **{"arg-amount_eur": "x"}),
        headers={"hx-request": "true"},
    )

    assert "<html" not in part
    assert f'id="card-{request.pk}"' in part
    assert (wrong.status_code, "Placet-Announce" in wrong) == (422, False)


# From text to fields, and back


LETTER = (
    '{"to": "a@b.c", "body": "Hi,\\nyou \\u00e9", "urgent": false, '
    '"copies": 1, "tags": ["x", "\\u202ey"]}'
)


def letter(arguments: str = LETTER) -> ApprovalRequest:
    call = editable(
        arguments,
        tool="send",
        review={"summary": ""},
    )

    call = dataclasses.replace(
        call, schema_hash=send.schema_hash, parameters=send.params_json_schema
    )
    call = dataclasses.replace(call, digest=call.current_digest())
    return proposed(call)[2]


def test_each_argument_is_a_field_of_its_kind() -> None:
    kinds = {each.name: (each.kind, each.shown) for each in arguments_of(letter())}

    assert kinds == {
        "to": ("text", "a@b.c"),
        "body": ("text", "Hi,\nyou é"),
        "urgent": ("choice", "false"),
        "copies": ("number", "1"),
        "tags": ("json", '["x", "\\u202ey"]'),
        "note": ("json", ""),
    }


def test_what_is_not_touched_keeps_its_spelling() -> None:
    request = letter()
    arguments = arguments_of(request)

    same = written_as({a.name: a.token_of(a.shown) for a in arguments})
    crlf = {a.name: a.token_of(a.shown.replace("\n", "\r\n")) for a in arguments}

    assert values_in(same) == values_in(request.call_arguments) == values_in(LETTER)
    assert written_as(crlf) == same


def test_text_that_hides_something_is_edited_with_escapes() -> None:
    request = letter(LETTER.replace("Hi,", "\u202eHi,"))

    [body] = [each for each in arguments_of(request) if each.name == "body"]

    assert body.kind == "json"
    assert body.shown.isascii()
    assert body.token_of(body.shown) == body.token


@pytest.mark.parametrize(
    "typed", ["1, 2", '1, "to": "x"', '1}, {"a": 1', "", "nope", "1e999", '"\\ud800"']
)
def test_a_json_field_holds_exactly_one_value(typed: str) -> None:
    [tags] = [each for each in arguments_of(letter()) if each.name == "tags"]

    with pytest.raises(ValueError, match=r"\w"):
        tags.token_of(typed)


def test_a_malformed_call_is_mended() -> None:
    _, _, request = asked(editable('{"order_id": '))

    after = edited(request, ada(), ARGUMENTS)

    assert after.status == RequestStatus.APPROVED
    assert after.written_arguments == '{"order_id": '


def test_an_edited_call_cannot_be_decided_by_the_old_card() -> None:
    _, _, request = asked()
    edited(request, ada())
    client = signed_in(make_user("carl", "reviewers"))
    said = {"verdict": "reject", "digest": request.digest}

    response = client.post(f"/requests/{request.pk}/decide/", said)

    assert response.status_code == 409
    assert not Decision.objects.filter(request=request).exists()


@pytest.mark.parametrize("view", ["page", "inline"])
def test_a_page_about_the_old_call_is_left_for_the_new_one(view: str) -> None:
    _, _, request = asked()
    client = signed_in(ada())
    looked = client.post(at(request), fields(request))
    posted = fields(request, step="send", edited=digest_in(looked), view=view)

    sent = client.post(at(request), posted, headers={"hx-request": "true"})

    after = ApprovalRequest.objects.get(revision=2)
    if view == "page":
        assert sent["HX-Redirect"] == after.get_absolute_url()
    else:
        assert f'id="card-{after.pk}"' in sent.content.decode()
