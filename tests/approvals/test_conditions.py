"""What a Rule says of arguments: exact, closed, and never wider than its words."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from approvals.conditions import (
    ANY,
    NO_ARGUMENTS,
    Conditions,
    ConditionsError,
    covers,
    dump,
    parse,
    spelled,
    values_of,
)


def where(*conditions: dict[str, Any]) -> Conditions:
    return parse(json.dumps({"match": "all", "of": conditions}))


def amount(**bounds: str) -> dict[str, Any]:
    return {"op": "between", "path": ["amount"], **bounds}


def equal(path: str, **value: Any) -> dict[str, Any]:
    return {"op": "equals", "path": [path], "value": value}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from("abc") | st.text(), inner, max_size=4)
    ),
    max_leaves=12,
)
steps = st.sampled_from(["a", "b", "c", "", "x.y"]) | st.integers(0, 3)
paths = st.lists(steps, min_size=1, max_size=3)
tagged = (
    st.builds(lambda it: {"text": it}, st.text(st.characters(codec="utf-8")))
    | st.builds(lambda it: {"number": str(it)}, st.integers(-(10**6), 10**6))
    | st.builds(lambda it: {"constant": it}, st.none() | st.booleans())
)
numbers = st.integers(-(10**6), 10**6)
conditions = st.one_of(
    st.builds(lambda p, v: {"op": "equals", "path": p, "value": v}, paths, tagged),
    st.builds(
        lambda p, v: {"op": "in", "path": p, "values": v},
        paths,
        st.lists(tagged, min_size=1, max_size=3),
    ),
    st.builds(
        lambda p, n, m: {
            "op": "between",
            "path": p,
            "low": str(min(n, m)),
            "high": str(max(n, m)),
        },
        paths,
        numbers,
        numbers,
    ),
    st.builds(lambda p: {"op": "starts with", "path": p, "prefix": "a"}, paths),
    st.builds(
        lambda p, n: {"op": "length at most", "path": p, "limit": n},
        paths,
        st.integers(0, 5),
    ),
    st.builds(
        lambda p, n: {"op": "count at most", "path": p, "limit": n},
        paths,
        st.integers(0, 5),
    ),
    st.builds(lambda p: {"op": "any", "path": p}, paths),
)


@settings(max_examples=50)
@given(json_values, st.lists(conditions, min_size=1, max_size=4))
def test_no_arguments_make_it_raise(value: Any, said: list[dict[str, Any]]) -> None:
    text = json.dumps(value)

    told = covers(where(*said), text)

    assert told in (True, False)
    if values_of(text) is None:
        assert not told


@settings(max_examples=50)
@given(st.text())
def test_no_text_at_all_makes_it_raise(text: str) -> None:
    for conditions in (ANY, NO_ARGUMENTS, where({"op": "any", "path": ["a"]})):
        assert covers(conditions, text) in (True, False)


@settings(max_examples=50)
@given(st.text() | st.builds(json.dumps, json_values))
def test_hostile_conditions_are_refused_with_a_sentence(text: str) -> None:
    try:
        found = parse(text)
    except ConditionsError as error:
        found, told = None, str(error)

    assert parse(dump(found)) == found if found else told


@settings(max_examples=50)
@given(
    st.dictionaries(st.sampled_from("abcd"), st.integers(-9, 9), min_size=1),
    st.sampled_from("abcd"),
)
def test_one_more_argument_than_was_named_is_not_covered(
    arguments: dict[str, int], more: str
) -> None:
    named = [{"op": "any", "path": [name]} for name in arguments if name != more]
    if not named:
        return

    assert covers(where(*named), json.dumps(arguments)) == (more not in arguments)


@pytest.mark.parametrize(
    ("condition", "covered", "asked"),
    [
        (equal("a", text="x"), ['"x"'], ['"X"', '"x "', "1", "null", '["x"]']),
        (equal("a", text="1"), ['"1"'], ["1", "1.0", "true"]),
        (equal("a", number="1"), ["1", "1.0", "1e0"], ['"1"', "true", "1.01"]),
        (equal("a", number="0"), ["0", "-0"], ["false", "null", '""', "[]"]),
        (equal("a", constant=True), ["true"], ["1", '"true"', "false"]),
        (equal("a", constant=None), ["null"], ["0", "false", '""']),
        (equal("a", text="é"), ['"é"'], ['"e\\u0301"']),
        (
            {"op": "in", "path": ["a"], "values": [{"text": "x"}, {"number": "2"}]},
            ['"x"', "2"],
            ['"2"', '"y"', '["x"]'],
        ),
        (
            {"op": "between", "path": ["a"], "low": "0", "high": "0.3"},
            ["0", "0.3", "0.1", "3e-1"],
            ["-0.01", "0.31", '"0.1"', "true", "0.30000000000000004", "null"],
        ),
        (
            {"op": "between", "path": ["a"], "high": "9007199254740993"},
            ["9007199254740991"],
            # Some readers round these.
            ["9007199254740992", "-9007199254740993", "0.1000000000000000055"],
        ),
        (
            {"op": "starts with", "path": ["a"], "prefix": "eu-"},
            ['"eu-3"', '"eu-"'],
            ['"EU-3"', '" eu-3"', '["eu-3"]', "3"],
        ),
        (
            {"op": "length at most", "path": ["a"], "limit": 2},
            ['""', '"ab"', '"\\ud83d\\ude00"'],
            ['"abc"', "[1]", "1"],
        ),
        (
            {"op": "count at most", "path": ["a"], "limit": 2},
            ["[]", "[1, 2]", '{"b": 1}'],
            ["[1, 2, 3]", '"ab"', "2"],
        ),
        ({"op": "any", "path": ["a"]}, ["null", "[[[]]]", '"x"'], []),
        (
            {"op": "any", "path": ["a", 0, "b"]},
            ['[{"b": 1}]'],
            ['{"0": {"b": 1}}', '[{"b": 1}, {"b": 2}]', "[]", '[{"b": 1, "c": 2}]'],
        ),
    ],
)
def test_each_operator_is_exact(
    condition: dict[str, Any], covered: list[str], asked: list[str]
) -> None:
    said = where(condition)

    assert [value for value in covered if not covers(said, f'{{"a": {value}}}')] == []
    assert [value for value in asked if covers(said, f'{{"a": {value}}}')] == []


def test_a_path_that_is_not_there_never_covers() -> None:
    for condition in (
        {"op": "any", "path": ["b"]},
        {"op": "any", "path": ["a", "b"]},
        equal("b", constant=None),
    ):
        both = where({"op": "any", "path": ["a"]}, condition)
        assert not covers(both, '{"a": "x"}')


def test_no_arguments_and_any_arguments_are_not_the_same() -> None:
    assert covers(NO_ARGUMENTS, "{}")
    assert not covers(NO_ARGUMENTS, '{"a": 1}')
    assert covers(ANY, "{}")
    assert covers(ANY, '{"a": 1}')


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"a": 1, "a": 2}', '{"a": NaN}', '{"a": 1e999}', '{"a": "\\ud800"}'],
)
def test_arguments_that_readers_read_differently_are_asked_about(text: str) -> None:
    assert not covers(ANY, text)
    assert not covers(NO_ARGUMENTS, text)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"match": "every"}, "match"),
        ({"match": "all"}, "at least one"),
        ({"match": "any", "of": [amount(high="5")]}, "at least one"),
        ({"match": "all", "of": [{"op": "regex", "path": ["a"]}]}, "regex"),
        ({"match": "all", "of": [{"op": "any", "path": []}]}, "path"),
        ({"match": "all", "of": [{"op": "any", "path": [True]}]}, "path"),
        ({"match": "all", "of": [{"op": "any", "path": "a"}]}, "path"),
        ({"match": "all", "of": [amount()]}, "lowest or a highest"),
        ({"match": "all", "of": [amount(low="2", high="1")]}, "above the highest"),
        ({"match": "all", "of": [amount(high="1e9999")]}, "high"),
        ({"match": "all", "of": [amount(high="NaN")]}, "high"),
        ({"match": "all", "of": [amount(high="5") | {"high": 5}]}, "high"),
        ({"match": "all", "of": [equal("a", text=1)]}, "text"),
        ({"match": "all", "of": [equal("a", text="x") | {"more": 1}]}, "more"),
        ({"match": "all", "of": [{"op": "any", "path": ["a"]}] * 51}, "of"),
    ],
)
def test_what_is_no_condition_is_refused_and_says_where(
    said: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConditionsError, match=told):
        parse(json.dumps(said))


def test_conditions_that_name_a_key_twice_are_refused() -> None:
    with pytest.raises(ConditionsError, match="twice"):
        parse('{"match": "none", "match": "any"}')


@pytest.mark.parametrize(
    ("path", "other"),
    [
        (("a.b",), ("a", "b")),
        (("a[0]",), ("a", 0)),
        (("a", ""), ("a",)),
        (('a"].["b',), ("a", "b")),
    ],
)
def test_two_places_are_not_spelled_alike(path: Any, other: Any) -> None:
    assert spelled(path) != spelled(other)
    assert spelled(("items", 0, "sku")) == "items[0].sku"
