"""Text an agent wrote cannot hide, act or pass for something else."""

from __future__ import annotations

import json
import time

import pytest

from approvals import display
from runs import inert


def labels(text: str) -> list[str]:
    return [part.label for part in inert.segments(text) if part.label]


def shown(text: str) -> str:
    return "".join(part.text for part in inert.segments(text))


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("pay\u202eevil", "right-to-left override"),
        ("pay\u2066evil", "left-to-right isolate"),
        ("a\u200bb", "zero width space"),
        ("a\u200db", "zero width joiner"),
        ("a\u00adb", "soft hyphen"),
        ("a\ufeffb", "zero width no-break space"),
        ("a\u2060b", "word joiner"),
        ("a\x00b", "null"),
        ("a\x1b[31mb", "escape"),
        ("a\x9bb", "control U+009B"),
        ("a\rb", "carriage return"),
        ("a\u2028b", "line separator"),
        ("a\u2029b", "paragraph separator"),
        ("a\ufe0fb", "variation selector-16"),
        ("a\U000e0100b", "variation selector-17"),
        ("a\U000e0041b", "hidden tag U+E0041"),
        ("a\u3164b", "hangul filler"),
        ("a\u2800b", "braille pattern blank"),
        ("a\ue000b", "private use U+E000"),
        ("a\ud800b", "lone surrogate U+D800"),
        ("a" + " " * 60 + "b", "60 spaces"),
        ("a" + "\n" * 30 + "b", "30 line breaks"),
        ("Z\u0300\u0301\u0302\u0303b", "4 piled-up accents"),
        ("a\u200b\u200b\u200bb", "zero width space \u00d73"),
    ],
)
def test_what_cannot_be_seen_becomes_a_chip(text: str, label: str) -> None:
    assert labels(text) == [label]
    assert inert.count_warnings(text) == 1


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("p\u0430ypal", "mixed alphabets, reads paypal"),
        ("\u0430\u0440\u0440le", "mixed alphabets, reads apple"),
        ("send it to \u0440\u0430\u0443", "Cyrillic that looks Latin, reads pay"),
        ("\U0001d429\U0001d41a\U0001d432", "look-alike letters, reads pay"),
        ("https://\u0430\u0440\u0440\u04cf\u0435.com/x", "host: xn--80ak6aa92e.com"),
        ("xn--bcher-kva.example", "punycode: bücher.example"),
    ],
)
def test_what_passes_for_something_else_is_flagged(text: str, label: str) -> None:
    assert labels(text) == [label]
    assert shown(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "Hello,\n\n\tplease refund €480.00\u00a0to order 1042.\r\nThanks",
        "naïve café, 5 \u03bcm, \u0394t, 240 Ω",
        "T\u30b7\u30e3\u30c4 を返品 \u3000 注文",
        "Привет, верните refund за заказ",
        "مرحبا بالعالم",
        "☀\ufe0f done",
        "日本語 한국어 ไทย",
    ],
)
def test_ordinary_text_of_any_language_is_left_alone(text: str) -> None:
    assert labels(text) == []
    assert shown(text) == text


def test_plain_text_is_marked_once_however_often_it_passes() -> None:
    text = (
        "p\u0430y \u200b https://\u0430\u0440\u0440\u04cf\u0435.com xn--80ak6aa92e.com"
    )

    once = inert.plain(text)

    assert "⟦mixed alphabets, reads pay⟧" in once
    assert inert.plain(once) == once


def test_a_forged_mark_does_not_lower_the_count() -> None:
    assert inert.count_warnings("p\u0430y⟦mixed alphabets, reads pay⟧") == 1


def test_arguments_are_rows_with_numbers_as_they_were_written() -> None:
    text = (
        '{"order": "1042", "amount": 480.00, "big": 12345678901234567890, '
        '"items": [{"sku": "A"}, null], "none": [], "sure": true}'
    )

    rows = display.argument_rows(text)

    found = [(row.path[0].text, row.type, row.value[0].text) for row in rows]
    assert found == [
        ("order", "text", "1042"),
        ("amount", "number", "480.00"),
        ("big", "number", "12345678901234567890"),
        ("items[0].sku", "text", "A"),
        ("items[1]", "nothing", "null"),
        ("none", "list", "[]"),
        ("sure", "yes/no", "true"),
    ]


def test_hostile_argument_names_are_chips_too() -> None:
    [row] = display.argument_rows('{"amo\\u200bunt": 1}')

    assert [part.label for part in row.path] == ["", "zero width space", ""]
    assert row.warnings == 1


@pytest.mark.parametrize(
    "text",
    ["", "[1]", "{", '{"a": 1, "a": 2}', '{"a": NaN}', '{"a": "\\ud800"}', "[" * 9000],
)
def test_malformed_arguments_are_shown_raw_with_the_reason(text: str) -> None:
    arguments = display.arguments(text)

    assert arguments.malformed.endswith(".")
    assert [row.type for row in arguments.rows] == ["raw"]


def test_a_long_value_is_cut_with_its_rest_counted() -> None:
    arguments = display.arguments(json.dumps({"body": "x" * 10_000}))

    [row] = arguments.rows
    assert len(row.value[0].text) == display.VALUE_CHARS
    assert row.hidden_chars == 10_000 - display.VALUE_CHARS
    assert arguments.is_cut


def test_warnings_in_the_part_that_is_not_shown_count() -> None:
    [row] = display.argument_rows(json.dumps({"body": "x" * 10_000 + "\u202e"}))

    assert row.warnings == 1


def test_many_values_are_cut_with_their_rest_counted() -> None:
    arguments = display.arguments(json.dumps({"ids": list(range(1000))}))

    assert len(arguments.rows) == display.MAX_ROWS
    assert arguments.hidden_rows == 1000 - display.MAX_ROWS


@pytest.mark.parametrize("text", ["{}", '{"a": {}, "b": []}', '{"": {"": 1}}'])
def test_empty_values_and_names_are_rows(text: str) -> None:
    arguments = display.arguments(text)

    assert arguments.hidden_rows == 0
    assert len(arguments.rows) == len(json.loads(text))


def test_deep_arguments_are_shown() -> None:
    text = '{"a":' * 60 + "1" + "}" * 60

    [row] = display.argument_rows(text)

    assert row.type == "number"


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ('{"note": "pay\\u202eevil"}', 1),
        ('{"no\\u200bte": "fine"}', 1),
        ('{"a": "x", "a": "\\u200b"}', 1),
        ("not json \u200b", 1),
        ('{"note": "fine"}', 0),
        ('{"a": "p", "b": "\\u0430"}', 1),
    ],
)
def test_warnings_are_counted_through_json_escapes(text: str, count: int) -> None:
    assert display.count_warnings(text) == count


@pytest.mark.parametrize(
    "value", ["plain text. " * 90_000, "a\u200b" * 500_000, " " * 1_000_000]
)
def test_counting_warnings_of_a_megabyte_is_fast(value: str) -> None:
    text = json.dumps({"body": value})
    inert.count_warnings("warm\u200b")
    start = time.process_time()

    display.count_warnings(text)

    assert time.process_time() - start < 0.5


def test_a_summary_is_one_safe_line() -> None:
    text = json.dumps({"to": "jane\n\nroe", "note": "p\u202ey", "amount": 480.5})

    line = display.summary_line("pay\u200b", text)

    assert line == (
        'pay⟦zero width space⟧: to "jane roe", '
        'note "p⟦right-to-left override⟧y", amount 480.5'
    )


@pytest.mark.parametrize(
    "arguments", ["{}", "{", json.dumps({"a" * 500: "b" * 5000}), "\ud800", {"a": 1}]
)
def test_a_summary_never_passes_its_length(arguments: str | dict[str, int]) -> None:
    line = display.summary_line("tool" * 200, arguments)

    assert 0 < len(line) <= display.SUMMARY_CHARS
    assert line.encode()
