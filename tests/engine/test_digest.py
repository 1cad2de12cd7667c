from __future__ import annotations

import json
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runs.engine import MalformedArguments, call_digest, parse_arguments

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
    ),
    max_leaves=10,
)


def digest(arguments: str, **changes: str) -> str:
    call = {"tool": "refund", "schema_hash": "s", "agent_path": "Shop", **changes}
    return call_digest(arguments=arguments, **call)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        '"text"',
        "1",
        "true",
        "{",
        '{"a": 1, "a": 2}',
        '{"a": {"b": 1, "b": 1}}',
        '{"a": NaN}',
        '{"a": -Infinity}',
        '{"a": 1e999}',
        '{"a": "\\ud800"}',
        '{"\\udfff": 1}',
        '{"a": "\ud800"}',
        '{"a": 1} {"a": 2}',
        '{"a": ' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"a": ' + "9" * 5000 + "}",
    ],
)
def test_arguments_two_parsers_may_read_differently_are_malformed(text: str) -> None:
    with pytest.raises(MalformedArguments):
        parse_arguments(text)


@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_every_json_object_is_read_as_json_reads_it(value: dict[str, object]) -> None:
    text = json.dumps(value)

    assert parse_arguments(text) == json.loads(text)


@given(st.text())
def test_any_text_has_a_digest(text: str) -> None:
    assert len(digest(text)) == 64


def test_spelling_does_not_change_the_digest_but_meaning_does() -> None:
    plain = digest('{"order": "1", "eur": 5}')

    assert digest('{ "eur":5,"order":"\\u0031"}') == plain
    assert digest('{"order": "1", "eur": 6}') != plain
    assert digest('{"order": "1", "eur": 5}', tool="pay") != plain
    assert digest('{"order": "1", "eur": 5}', agent_path="Other") != plain
    assert digest('{"order": "1", "eur": 5}', schema_hash="t") != plain


def test_integers_that_some_readers_round_keep_calls_apart() -> None:
    for place in ('{"id": %s}', '{"ids": [%s]}', '{"a": {"ids": [{"id": -%s}]}}'):
        assert digest(place % 9007199254740993) != digest(place % 9007199254740992)


def test_the_digest_is_what_the_architecture_says() -> None:
    canonical = (
        '{"agent":"Shop","arguments":{"eur":5,"order":"1"},'
        '"schema":"s","tool":"refund","version":1}'
    )

    assert (
        digest('{"order": "1", "eur": 5.0}') == sha256(canonical.encode()).hexdigest()
    )


def test_malformed_texts_that_differ_have_different_digests() -> None:
    assert digest('{"a": "\ud800"}') != digest('{"a": "\ud801"}')
