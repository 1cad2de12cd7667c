from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from typing_extensions import TypedDict

from runs.engine.errors import ModelBehaviorError, UserError
from runs.engine.output import (
    AgentOutputSchema,
    AgentOutputSchemaBase,
    output_schema_of,
)


class Order(BaseModel):
    id: int
    note: str | None = None


class Size(TypedDict):
    width: int


@dataclasses.dataclass
class Parcel:
    weight: float


@dataclasses.dataclass
class Answers:
    """Stands for an agent."""

    output_type: Any


def test_a_model_is_asked_for_as_it_is() -> None:
    schema = AgentOutputSchema(Order)

    assert (schema.name(), schema.is_plain_text()) == ("Order", False)
    assert schema.is_strict_json_schema()
    assert schema.json_schema()["required"] == ["id", "note"]
    assert schema.json_schema()["additionalProperties"] is False
    assert schema.validate_json('{"id": 1, "note": null}') == Order(id=1)


@pytest.mark.parametrize(
    ("kind", "name", "text", "value"),
    [
        (int, "int", '{"response": 3}', 3),
        (list[int], "list[int]", '{"response": [1, 2]}', [1, 2]),
        (list[Order], "list[Order]", '{"response": [{"id": 1}]}', [Order(id=1)]),
        (Parcel, "Parcel", '{"response": {"weight": 1.5}}', Parcel(1.5)),
        (Size, "Size", '{"width": 2}', {"width": 2}),
        (Order | None, "UnionType[Order, NoneType]", '{"response": null}', None),
        (Literal["a"], "Literal['a']", '{"response": "a"}', "a"),
    ],
)
def test_what_is_no_object_is_asked_for_within_one(
    kind: Any, name: str, text: str, value: Any
) -> None:
    schema = AgentOutputSchema(kind)

    assert schema.json_schema()["type"] == "object"
    assert schema.validate_json(text) == value
    assert schema.validate_json(schema.dump_json(value)) == value
    assert schema.name() == name


def test_plain_text_has_no_schema() -> None:
    for kind in (None, str):
        schema = AgentOutputSchema(kind)
        assert schema.is_plain_text()
        with pytest.raises(UserError, match="plain text"):
            schema.json_schema()


def test_a_type_that_cannot_be_strict_says_what_to_do() -> None:
    with pytest.raises(UserError, match=r"dict\[str, int\], strict_json_schema=False"):
        AgentOutputSchema(dict[str, int])

    loose = AgentOutputSchema(dict[str, int], strict_json_schema=False)
    assert not loose.is_strict_json_schema()
    assert loose.json_schema()["additionalProperties"] == {"type": "integer"}
    assert loose.validate_json('{"a": 1}') == {"a": 1}


def test_a_type_without_a_schema_is_refused() -> None:
    with pytest.raises(UserError, match="no JSON schema"):
        AgentOutputSchema(AgentOutputSchemaBase)


def test_only_a_strict_schema_takes_no_value_of_another_type() -> None:
    assert AgentOutputSchema(int, False).validate_json('{"response": "3"}') == 3
    with pytest.raises(ModelBehaviorError, match=r"response: .*integer"):
        AgentOutputSchema(int).validate_json('{"response": "3"}')


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "Invalid JSON"),
        ("{", "Invalid JSON"),
        ('{"id": 1} and more', "Invalid JSON"),
        ("[]", "answer: "),
        ("{}", "id: Field required"),
        ('{"id": "x"}', "id: "),
        ('{"id": 1}\ud800', "does not fit|surrogate"),
        ("[" * 100_000, "Invalid JSON|does not fit"),
    ],
)
def test_the_model_is_told_what_does_not_fit(text: str, told: str) -> None:
    with pytest.raises(ModelBehaviorError, match=told):
        AgentOutputSchema(Order).validate_json(text)


@given(st.text() | st.from_regex(r'\{"id": (-?\d+|"x"|null|\[\])[,}].{0,9}'))
def test_any_text_is_an_order_or_a_mistake_of_the_model(text: str) -> None:
    try:
        found = AgentOutputSchema(Order).validate_json(text)
    except ModelBehaviorError:
        return
    assert isinstance(found, Order)


class Yes(AgentOutputSchemaBase):
    def is_plain_text(self) -> bool:
        return False

    def name(self) -> str:
        return "Yes"

    def json_schema(self) -> dict[str, Any]:
        return {}

    def is_strict_json_schema(self) -> bool:
        return False

    def validate_json(self, json_str: str) -> Any:
        return True


def test_an_agent_has_a_schema_unless_it_answers_in_text() -> None:
    own = Yes()

    assert output_schema_of(Answers(None)) is None
    assert output_schema_of(Answers(str)) is None
    assert output_schema_of(Answers(own)) is own
    found = output_schema_of(Answers(list[int]))
    assert found is not None
    assert found.name() == "list[int]"


def test_the_schema_of_a_type_is_made_once() -> None:
    assert output_schema_of(Answers(Order)) is output_schema_of(Answers(Order))


def test_types_that_are_equal_keep_a_schema_each() -> None:
    one, other = (
        output_schema_of(Answers(int | str)),
        output_schema_of(Answers(str | int)),
    )

    assert one is not None
    assert other is not None
    assert one.json_schema() != other.json_schema()


def test_a_type_that_is_no_key_has_a_schema_too() -> None:
    found = output_schema_of(Answers(Annotated[list[int], {"unit": "EUR"}]))

    assert found is not None
    assert found.validate_json('{"response": [1]}') == [1]
