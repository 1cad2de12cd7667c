from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import UTC, datetime, timedelta

import pytest

from runs.webhooks.signature import SignatureRefused, is_secret, verify
from runs.webhooks.sources import make_secret

from .factories import signed

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECRET = make_secret()
BODY = b'{"order": "\xc3\xa9"}'


def check(headers: dict[str, str], body: bytes = BODY, secret: str = SECRET) -> str:
    return verify(body, headers, secrets=[secret], now=NOW)


def test_verify_takes_what_the_reference_library_signs() -> None:
    headers = signed(BODY, secret=SECRET, webhook_id="msg_7", at=NOW)

    assert check(headers) == "msg_7"


def test_verify_takes_the_example_of_the_spec() -> None:
    # Source: the test vector of the spec's reference implementations.
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }

    webhook_id = verify(
        b'{"test": 2432232314}',
        headers,
        secrets=["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
        now=datetime.fromtimestamp(1614265330, UTC),
    )

    assert webhook_id == "msg_p5jXN8AQM9LWM0D4loKWxJek"


@pytest.mark.parametrize("age_s", [300, 0, -300])
def test_verify_takes_five_minutes_either_way(age_s: int) -> None:
    headers = signed(BODY, secret=SECRET, at=NOW, age=timedelta(seconds=age_s))

    assert check(headers) == "msg_1"


@pytest.mark.parametrize("age_s", [301, -301])
def test_verify_refuses_a_timestamp_further_away(age_s: int) -> None:
    headers = signed(BODY, secret=SECRET, at=NOW, age=timedelta(seconds=age_s))

    with pytest.raises(SignatureRefused, match="5 minutes"):
        check(headers)


@pytest.mark.parametrize("timestamp", ["", "now", "1e9", "-1", "9" * 400, "\u0661"])
def test_verify_refuses_a_timestamp_that_is_none(timestamp: str) -> None:
    headers = signed(BODY, secret=SECRET, at=NOW) | {"webhook-timestamp": timestamp}

    with pytest.raises(SignatureRefused, match="webhook-timestamp"):
        check(headers)


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp"])
def test_verify_covers_the_headers(name: str) -> None:
    headers = signed(BODY, secret=SECRET, at=NOW)
    changed = {"webhook-id": "msg_2", "webhook-timestamp": f"{NOW.timestamp() - 1:.0f}"}

    with pytest.raises(SignatureRefused, match="No signature matches"):
        check(headers | {name: changed[name]})


def test_verify_covers_the_body() -> None:
    headers = signed(BODY, secret=SECRET, at=NOW)

    with pytest.raises(SignatureRefused, match="No signature matches"):
        check(headers, body=BODY + b" ")


def test_verify_refuses_another_secret() -> None:
    headers = signed(BODY, secret=make_secret(), at=NOW)

    with pytest.raises(SignatureRefused, match="No signature matches"):
        check(headers)


def test_verify_reads_a_body_that_is_no_text() -> None:
    body, stamp = b"\xff\xfe", str(int(NOW.timestamp()))
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    digest = hmac.digest(key, b"msg_1." + stamp.encode() + b"." + body, hashlib.sha256)
    signature = "v1," + base64.b64encode(digest).decode()
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": stamp,
        "webhook-signature": signature,
    }

    assert check(headers, body=body) == "msg_1"


def test_verify_takes_one_good_signature_among_others() -> None:
    headers = signed(BODY, secret=SECRET, at=NOW)
    good = headers["webhook-signature"]
    headers["webhook-signature"] = f"v1a,AAAA nonsense v1,!!! v1,é {good} v1,AAAA"

    assert check(headers) == "msg_1"


@pytest.mark.parametrize("signature", ["", "v1,", "v1", "v2,AAAA", ",", " "])
def test_verify_refuses_what_is_no_signature(signature: str) -> None:
    headers = signed(BODY, secret=SECRET, at=NOW) | {"webhook-signature": signature}

    with pytest.raises(SignatureRefused):
        check(headers)


def test_verify_refuses_everything_without_a_secret() -> None:
    headers = signed(BODY, secret=SECRET, at=NOW)

    with pytest.raises(SignatureRefused):
        verify(BODY, headers, secrets=[], now=NOW)


def test_make_secret_makes_a_new_secret_of_the_spec() -> None:
    first, second = make_secret(), make_secret()

    assert is_secret(first)
    assert first != second


@pytest.mark.parametrize("text", ["", "whsec_", "whsec_AAAA", "whsec_!", "AAAA" * 8])
def test_is_secret_refuses_what_is_none(text: str) -> None:
    assert not is_secret(text)
