from __future__ import annotations

import base64
import hashlib
import hmac
import io
import threading
import time
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import pytest
from django.db import connection
from django.test import Client
from django.test.client import AsyncRequestFactory

from runs import codec
from runs.models import Conversation, Run, RunStatus, WebhookDelivery
from runs.webhooks import receive, sources
from runs.webhooks.sources import make_secret

from .factories import deliver, make_source, signed

ORDER = {"order": {"id": 1042}}


def texts(run: Run) -> list[str]:
    """Return the messages a run was given, whether the model read them or not."""
    read = [event.data["raw"]["content"] for event in run.events.filter(kind="item")]
    return read + [text for text in run.pending_messages if text not in read]


@pytest.mark.django_db
def test_a_delivery_starts_a_run(client: Client) -> None:
    source = make_source()

    status, answer = deliver(client, source, ORDER)

    run = Run.objects.get()
    assert status == 202
    assert answer == {"run": str(run.pk), "conversation": str(run.conversation_id)}
    assert (run.agent_key, run.trigger, run.requester) == ("support", "webhook", None)
    assert texts(run) == ["Order 1042 came in."]
    assert WebhookDelivery.objects.get().run == run


@pytest.mark.django_db
def test_the_same_id_again_gives_the_same_run(client: Client) -> None:
    source = make_source()
    first = deliver(client, source, ORDER)

    again = deliver(client, source, {"another": "body"}, age=timedelta(minutes=-1))

    assert again == first
    assert Run.objects.count() == 1


@pytest.mark.django_db
def test_the_same_id_of_another_source_is_another_delivery(client: Client) -> None:
    first, second = make_source(), make_source(slug="crm")

    answers = [deliver(client, source, ORDER) for source in (first, second)]

    assert answers[0][1]["run"] != answers[1][1]["run"]


@pytest.mark.django_db
def test_a_delivery_taken_while_it_is_read_again_starts_one_run() -> None:
    source, body = make_source(), b'{"order": {"id": 1}}'
    first: list[Run] = []

    def taken_meanwhile(*read: Any) -> tuple[str, str]:
        if not first:
            first.append(Run())
            first[0] = receive.accept(source, "msg_1", body)
        return "Order 1", ""

    with patch.object(receive, "read", taken_meanwhile):
        second = receive.accept(source, "msg_1", body)

    assert second == first[0]
    assert Run.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_one_delivery_sent_many_times_at_once_starts_one_run() -> None:
    source = make_source()
    answers: list[tuple[int, dict[str, Any]]] = []
    together = threading.Barrier(4)

    def send() -> None:
        together.wait(timeout=10)
        answers.append(deliver(Client(), source, ORDER))
        connection.close()

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)

    assert [status for status, _ in answers] == [202] * 4
    assert len({answer["run"] for _, answer in answers}) == 1
    assert Run.objects.count() == 1


@pytest.mark.django_db
@pytest.mark.parametrize("previous", [False, True])
def test_both_secrets_of_a_rotation_are_good(client: Client, previous: bool) -> None:
    source = make_source()
    old = source.secret
    fresh = sources.rotate(source)

    status, _ = deliver(client, source, ORDER, secret=old if previous else fresh)

    assert status == 202


@pytest.mark.django_db
def test_a_cleared_secret_is_refused(client: Client) -> None:
    source = make_source()
    old = source.secret
    sources.rotate(source)
    sources.clear_previous(source)

    status, _ = deliver(client, source, ORDER, secret=old)

    assert status == 401


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("status", "signing"),
    [
        (401, {"secret": make_secret()}),
        (401, {"headers": {}}),
        (401, {"age": timedelta(minutes=6)}),
        (401, {"age": timedelta(minutes=-6)}),
        (404, {"slug": "unknown"}),
    ],
)
def test_a_delivery_not_signed_by_the_source_stores_nothing(
    client: Client, status: int, signing: dict[str, Any]
) -> None:
    found, answer = deliver(client, make_source(), ORDER, **signing)

    assert (found, list(answer)) == (status, ["error"])
    assert not Run.objects.exists()
    assert not WebhookDelivery.objects.exists()


@pytest.mark.django_db
def test_an_inactive_source_is_unknown(client: Client) -> None:
    status, _ = deliver(client, make_source(is_active=False), ORDER)

    assert status == 404
    assert not Run.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("size", [1_000_001, 3_000_000])
def test_a_body_over_the_limit_is_refused(client: Client, size: int) -> None:
    status, answer = deliver(client, make_source(), b"x" * size)

    assert status == 413
    assert "1000000 bytes" in answer["error"]
    assert not Run.objects.exists()


@pytest.mark.django_db
def test_a_body_at_the_limit_is_read(client: Client) -> None:
    body = b'{"order":{"id":1042},"padding":"' + b"x" * (1_000_000 - 34) + b'"}'

    status, _ = deliver(client, make_source(), body)

    assert (len(body), status) == (1_000_000, 202)


@pytest.mark.django_db
def test_a_large_body_without_a_length_is_refused() -> None:
    from runs.webhooks.views import receive as view

    make_source()
    request = AsyncRequestFactory().post("/webhooks/shop/")
    request.META.pop("CONTENT_LENGTH", None)
    request._stream = io.BytesIO(b"x" * 2_000_000)

    assert view(request, slug="shop").status_code == 413


@pytest.mark.django_db
@pytest.mark.parametrize(
    "body", [b"order=1042", b"[1]", b"null", b'{"a":1,"a":2}', b""]
)
def test_a_body_that_is_no_object_is_refused(client: Client, body: bytes) -> None:
    status, answer = deliver(client, make_source(), body)

    assert status == 422
    assert "must be a JSON object" in answer["error"]
    assert not Run.objects.exists()


@pytest.mark.django_db
def test_a_signed_body_that_is_no_text_is_refused(client: Client) -> None:
    source, body, stamp = make_source(), b"\xff", str(int(time.time()))
    key = base64.b64decode(source.secret.removeprefix("whsec_"))
    digest = hmac.digest(key, b"msg_1." + stamp.encode() + b"." + body, hashlib.sha256)
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": stamp,
        "webhook-signature": "v1," + base64.b64encode(digest).decode(),
    }

    status, _ = deliver(client, source, body, headers=headers)

    assert status == 422


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"template": "{{ body.missing }}"}, "body.missing"),
        ({"template": "{% if body.missing %}x{% endif %}"}, "gives no text"),
        ({"template": "{% if %}"}, "The template is wrong"),
        ({"conversation_template": "{{ body.missing }}"}, "body.missing"),
        ({"conversation_template": "x" * 201}, "longer than 200"),
    ],
)
def test_a_body_that_gives_no_input_is_refused(
    client: Client, fields: dict[str, str], message: str
) -> None:
    status, answer = deliver(client, make_source(**fields), ORDER)

    assert status == 422
    assert message in answer["error"]
    assert not Run.objects.exists()


@pytest.mark.django_db
def test_an_id_too_long_to_keep_is_refused(client: Client) -> None:
    status, answer = deliver(client, make_source(), ORDER, webhook_id="m" * 201)

    assert status == 422
    assert "webhook-id" in answer["error"]


@pytest.mark.django_db
def test_an_agent_that_is_gone_is_said(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    status, answer = deliver(client, make_source(agent_key="gone"), ORDER)

    assert status == 503
    assert "again later" in answer["error"]
    assert "not registered" in caplog.text
    assert not WebhookDelivery.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("method", ["get", "put", "delete", "patch", "options"])
def test_other_methods_are_refused(client: Client, method: str) -> None:
    make_source()

    response = getattr(client, method)("/webhooks/shop/")

    assert response.status_code == 405
    assert response["Allow"] == "POST"


@pytest.mark.django_db
def test_a_delivery_needs_no_csrf_token_and_no_last_slash() -> None:
    source, body = make_source(), b'{"order": {"id": 1}}'

    response = Client(enforce_csrf_checks=True).post(
        "/webhooks/shop",
        body,
        content_type="application/json",
        headers=signed(body, secret=source.secret),
    )

    assert response.status_code == 202


@pytest.mark.django_db
def test_a_failed_start_leaves_no_delivery(client: Client) -> None:
    source = make_source()

    with (
        patch.object(WebhookDelivery.objects, "create", side_effect=RuntimeError),
        pytest.raises(RuntimeError),
    ):
        receive.accept(source, "msg_1", b'{"order": {"id": 1}}')

    assert not Run.objects.exists()
    assert deliver(client, source, ORDER)[0] == 202


@pytest.mark.django_db
def test_a_named_conversation_takes_a_message_while_its_run_is_open(
    client: Client,
) -> None:
    source = make_source(conversation_template="order-{{ body.order.id }}")

    first = deliver(client, source, ORDER, webhook_id="1")[1]
    second = deliver(client, source, ORDER | {"x": 1}, webhook_id="2")[1]

    assert second == first
    assert Run.objects.get().pending_messages[-1] == "Order 1042 came in."
    assert WebhookDelivery.objects.count() == 2


@pytest.mark.django_db
def test_a_named_conversation_goes_on_in_the_next_run(client: Client) -> None:
    source = make_source(conversation_template="order-{{ body.order.id }}")
    first = deliver(client, source, ORDER, webhook_id="1")[1]
    Run.objects.update(status=RunStatus.COMPLETED)

    second = deliver(client, source, ORDER, webhook_id="2")[1]

    assert second["conversation"] == first["conversation"]
    assert second["run"] != first["run"]
    assert Run.objects.get(pk=second["run"]).trigger == "webhook"
    assert codec.loads(Conversation.objects.get().metadata) == {
        "webhook": "shop",
        "key": "order-1042",
    }


@pytest.mark.django_db
@pytest.mark.parametrize("template", ["", "order-{{ body.order.id }}"])
def test_another_name_or_none_opens_a_conversation(
    client: Client, template: str
) -> None:
    source = make_source(conversation_template=template)

    deliver(client, source, ORDER, webhook_id="1")
    deliver(client, source, {"order": {"id": 1043}}, webhook_id="2")

    assert Conversation.objects.count() == 2


@pytest.mark.django_db
def test_a_conversation_whose_run_is_stopping_asks_to_send_again(
    client: Client,
) -> None:
    source = make_source(conversation_template="one")
    deliver(client, source, ORDER, webhook_id="1")
    run = Run.objects.get()
    run.stop_requested_at = run.created_at
    run.save()

    status, answer = deliver(client, source, ORDER, webhook_id="2")

    assert status == 409
    assert "again later" in answer["error"]
    assert WebhookDelivery.objects.count() == 1
