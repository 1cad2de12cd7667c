from __future__ import annotations

import pytest

from runs.webhooks.mapping import MappingError, compile_template, fill, parse_body


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("Order {{ body.order.id }}", "Order 1042"),
        ("{{ body.order }}", '{"id":1042,"paid":true}'),
        ("{{ body.lines.1 }}", "<b>two</b> & more"),
        ("{{ body.lines }}", '["one","<b>two</b> & more"]'),
        (
            "{% for line in body.lines %}{{ line }};{% endfor %}",
            "one;<b>two</b> & more;",
        ),
        ("{% if body.note %}{{ body.note }}{% else %}none{% endif %}", "none"),
        ("  {{ body.price }}\n", "1234567.5"),
    ],
)
def test_fill_maps_the_body(template: str, text: str) -> None:
    body = {
        "order": {"id": 1042, "paid": True},
        "lines": ["one", "<b>two</b> & more"],
        "price": 1234567.5,
    }

    assert fill(template, body) == text


@pytest.mark.parametrize(
    "template", ["order-{{ body.order.id }}", "{{ body.a|upper }}"]
)
def test_fill_refuses_what_the_body_does_not_have(template: str) -> None:
    with pytest.raises(MappingError, match="which the body does not have"):
        fill(template, {"other": 1})


@pytest.mark.parametrize(
    "template",
    [
        "{% if body.x %}",
        "{{ body|nothing }}",
        "{% load static %}",
        "{{ body._x }}",
    ],
)
def test_compile_template_refuses_wrong_syntax(template: str) -> None:
    with pytest.raises(MappingError, match="The template is wrong"):
        compile_template(template)


@pytest.mark.parametrize(
    "template", ['{% include "admin/base.html" %}', '{% extends "sign_in.html" %}']
)
def test_fill_loads_no_other_template(template: str) -> None:
    with pytest.raises(MappingError, match="TemplateDoesNotExist"):
        fill(template, {})


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"order=1",
        b"[]",
        b'"text"',
        b"null",
        b'{"a": 1, "a": 2}',
        b'{"a": NaN}',
        b'{"a": "\\ud800"}',
        b'{"a": "\xff"}',
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_parse_body_refuses_what_is_no_plain_object(body: bytes) -> None:
    with pytest.raises(MappingError, match="must be a JSON object"):
        parse_body(body)
