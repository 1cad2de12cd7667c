"""Hostile texts come out of every page as text, with the chips they must show."""

from __future__ import annotations

import json
import logging
import unicodedata
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import chain

import pytest
from django.utils import timezone

from approvals import display
from approvals.models import ApprovalRequest
from runs import codec, inert
from runs.log_lines import InertFormatter
from runs.models import EventKind, Run
from runs.services import record_event
from tests.factories import ada, start
from tests.test_pages import make_request, signed_in

from .corpus import HARMLESS, HOSTILE

ALL = [(text, chips) for texts in HOSTILE.values() for text, chips in texts]
FINE = list(chain(*HARMLESS.values()))
TEXTS = [text for text, _ in ALL] + FINE
LINE_CHARS = 300
# What the pages themselves are written with, and what spelling needs.
ALLOWED = {"\n", "\t", "\u200c", "\u200d", "\ufe0e", "\ufe0f"}
INERT_TAGS = {"bdi", "span", "code", "a", "p", "svg", "use", "time", "b", "pre"}


class Page(HTMLParser):
    """The text and the tags of each element with one class or id prefix."""

    def __init__(self, tag: str, name: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tag, self.name = tag, name
        self.parts: list[tuple[str, list[str]]] = []
        self.chips: list[list[str]] = []
        self.seen: list[str] = []
        """Each text and each value of an attribute."""
        self.odd: list[str] = []
        self._depth = 0
        self._in_chip = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.seen += given.values()
        self.odd += [name for name in given if name.startswith("on")]
        if tag == self.tag and self._depth:
            self._depth += 1
        elif tag == self.tag and self.name in given.get("class", "").split():
            self._depth = 1
            self.parts.append(("", []))
            self.chips.append([])
        elif self._depth:
            self.parts[-1][1].append(tag)
            self._in_chip = tag == "span" and given.get("class") == "chip"

    def handle_endtag(self, tag: str) -> None:
        if tag == self.tag and self._depth:
            self._depth -= 1
        if tag == "span":
            self._in_chip = False

    def handle_data(self, data: str) -> None:
        self.seen.append(data)
        if not self._depth:
            return
        if self._in_chip:
            self.chips[-1].append(data)
        else:
            text, tags = self.parts[-1]
            self.parts[-1] = (text + data, tags)


def read(html: str, tag: str, name: str) -> Page:
    page = Page(tag, name)
    page.feed(html.replace("\r\n", "\n"))  # as browsers do
    for text in page.seen:
        assert not unseen(text), ascii(text[:200])
    assert page.odd == []
    return page


def unseen(text: str) -> list[str]:
    """Return the characters of `text` that draw nothing or move others."""
    hidden = ("Cc", "Cf", "Co", "Cs", "Zl", "Zp")
    # Three flags are spelled with tags, and only they.
    left = text
    for place in ("gbsct", "gbwls", "gbeng"):
        tags = "".join(chr(0xE0000 + ord(char)) for char in place)
        left = left.replace(f"\U0001f3f4{tags}\U000e007f", "")
    return [
        char
        for char in left
        if char not in ALLOWED and unicodedata.category(char) in hidden
    ]


def in_groups(size: int) -> Iterator[list[str]]:
    for at in range(0, len(TEXTS), size):
        yield TEXTS[at : at + size]


def visible(text: str) -> str:
    """Return what of `text` stands beside its chips."""
    whole = "".join(part.text for part in inert.segments(text))
    return whole.replace("\r\n", "\n").encode("utf-8", "replace").decode()


@pytest.mark.parametrize("kind", HOSTILE)
def test_each_hostile_text_shows_its_chips(kind: str) -> None:
    for text, chips in HOSTILE[kind]:
        found = [part.label for part in inert.segments(text) if part.label]

        assert len(found) == len(chips), (ascii(text), found)
        for label, expected in zip(found, chips, strict=True):
            assert label.startswith(expected), ascii(text)
        assert display.count_warnings(json.dumps({"value": text})) == len(chips)


@pytest.mark.parametrize("language", HARMLESS)
def test_no_harmless_text_is_flagged(language: str) -> None:
    for text in HARMLESS[language]:
        assert inert.segments(text) == ([inert.Segment(text)] if text else [])


def test_the_corpus_is_as_large_as_it_says() -> None:
    assert len(ALL) >= 200
    assert len(FINE) >= 60
    assert len(set(TEXTS)) == len(TEXTS)


@pytest.mark.django_db
def test_on_the_request_page_each_text_is_a_value_in_its_row() -> None:
    client, run = signed_in(ada()), start()

    for at, group in enumerate(in_groups(100)):
        values = {f"v{place}": text for place, text in enumerate(group)}
        # Not through `make_request`: its own column for search keeps other spellings.
        sound = {name: visible_json(text) for name, text in values.items()}
        card = make_request(run, arguments=json.dumps(sound), key=f"c{at}")
        page = read(client.get(card.get_absolute_url()).content.decode(), "td", "value")

        assert len(page.parts) == len(group)
        for text, (shown, tags), chips in zip(
            sound.values(), page.parts, page.chips, strict=True
        ):
            labels = [part.label for part in inert.segments(text) if part.label]
            assert chips == labels
            assert visible(text).strip("\r\n") in shown.replace("\r\n", "\n")
            assert set(tags) <= INERT_TAGS


def visible_json(text: str) -> str:
    """Return `text` as far as arguments may hold it: a lone surrogate is malformed."""
    return text.encode("utf-8", "replace").decode()


@pytest.mark.django_db
def test_in_the_queue_each_text_is_a_line_a_tool_and_an_agent() -> None:
    client, run, now = signed_in(ada()), start(), timezone.now()
    for group in in_groups(50):  # of a page
        ApprovalRequest.objects.all().delete()
        ApprovalRequest.objects.bulk_create(
            ApprovalRequest(
                run=run,
                call_key=f"c{at}",
                tool=codec.storable(text)[:200] or "t",
                agent_path=codec.storable(text)[:200] or "a",
                path=codec.dumps([text, text]),
                call=codec.dumps({"arguments": "{}"}),
                arguments="{}",
                schema_hash="0",
                digest="d",
                summary=codec.storable(text)[:300],
                why=text[:0],
                created_at=now,
                updated_at=now,
            )
            for at, text in enumerate(group)
        )

        page = read(client.get("/").content.decode(), "a", "summary")

        assert len(page.parts) == len(group)
        for text, (shown, tags) in zip(group, page.parts, strict=True):
            assert shown == inert.excerpt(codec.storable(text)[:300], LINE_CHARS)
            assert tags == []


@pytest.mark.django_db
def test_in_a_runs_timeline_each_text_is_a_message_and_an_output() -> None:
    client, run = signed_in(ada()), start()
    for text in TEXTS:
        item = {"type": "message", "agent": text, "raw": {"content": text}}
        record_event(run.pk, EventKind.ITEM, item)
    Run.objects.update(error="\n".join(TEXTS[:50]), status="failed")

    html = client.get(f"/runs/{run.pk}/?all=1").content.decode()
    page = read(html, "div", "text")

    assert len(page.parts) == len(TEXTS) + 1
    for text, (shown, tags), chips in zip(
        TEXTS, page.parts[1:], page.chips[1:], strict=True
    ):
        assert chips == [part.label for part in inert.segments(text) if part.label]
        assert shown.replace("\r\n", "\n") == visible(text)
        assert set(tags) <= INERT_TAGS


def test_in_the_log_each_text_stays_in_its_line() -> None:
    lines = InertFormatter("{levelname} {message}", style="{")

    for text in TEXTS:
        record = logging.LogRecord("x", logging.INFO, "x", 1, "%s", (text,), None)
        line = lines.format(record)

        assert "\n" not in line
        assert line.startswith("INFO ")
        assert not unseen(line)


@pytest.mark.parametrize(
    "start_of", ["=", "+", "-", "@", "\t=", " =", "\r=", "\u00a0=", "\uff1d"]
)
def test_no_cell_of_a_table_is_a_formula(start_of: str) -> None:
    assert inert.csv_cell(f"{start_of}1+1").startswith("'")
