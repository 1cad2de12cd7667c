from __future__ import annotations

import asyncio
import dataclasses
import enum
import functools
import json
from collections.abc import Callable
from typing import Annotated, Any, Literal, NotRequired

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from runs.engine.context import RunContextWrapper, ToolContext
from runs.engine.errors import ModelBehaviorError, UserError
from runs.engine.tools.docstrings import read_docstring
from runs.engine.tools.function_tool import function_tool
from runs.engine.tools.schema import function_schema, generate_func_documentation
from runs.engine.tools.strict_schema import MAX_DEPTH, ensure_strict_json_schema


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Size(TypedDict):
    width: int
    depth: NotRequired[int]


@dataclasses.dataclass
class Parcel:
    weight: float
    notes: list[str] = dataclasses.field(default_factory=list)


class Place(BaseModel):
    street: str
    number: int | None = None


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"]
    tricks: list[str]


class Pet(BaseModel):
    pet: Cat | Dog = Field(discriminator="kind")


class Tree(BaseModel):
    value: int
    branches: list[Tree] = []


def properties(func: Callable[..., Any], **options: Any) -> dict[str, Any]:
    found = function_schema(func, **options).params_json_schema["properties"]
    assert isinstance(found, dict)
    return found


def called(func: Callable[..., Any], arguments: dict[str, Any], **options: Any) -> Any:
    """Return what `func` gives when called with what a model wrote."""
    schema = function_schema(func, **options)
    args, kwargs = schema.to_call_args(
        schema.params_pydantic_model.model_validate(arguments)
    )
    return func(*args, **kwargs)


# The schema of each kind of parameter


def test_simple_parameters_have_titles_types_and_defaults() -> None:
    def book(seats: int, row: str = "A", price: float | None = None, extra=None) -> str:  # type: ignore[no-untyped-def]
        return ""

    assert properties(book) == {
        "seats": {"title": "Seats", "type": "integer"},
        "row": {"title": "Row", "type": "string", "default": "A"},
        "price": {"title": "Price", "anyOf": [{"type": "number"}, {"type": "null"}]},
        "extra": {"title": "Extra"},
    }
    assert function_schema(book).params_json_schema["required"] == [
        "seats",
        "row",
        "price",
        "extra",
    ]


def test_a_tool_that_is_not_strict_requires_only_what_has_no_default() -> None:
    def book(seats: int, row: str = "A", options: dict[str, int] | None = None) -> str:
        return ""

    schema = function_schema(book, strict_json_schema=False).params_json_schema

    assert schema["required"] == ["seats"]
    assert "additionalProperties" not in schema
    assert schema["properties"]["options"]["default"] is None


def test_texts_and_limits_come_from_annotated_and_from_field() -> None:
    def book(
        seats: Annotated[int, Field(ge=1, le=9)],
        row: Annotated[str, "Letter of the row."] = "A",
        code: str = Field(description="A code.", pattern="^x"),
        count: int = Field(default=3, description="How many."),
    ) -> str:
        return ""

    found = properties(book)

    assert (found["seats"]["minimum"], found["seats"]["maximum"]) == (1, 9)
    assert found["row"]["description"] == "Letter of the row."
    assert (found["code"]["description"], found["code"]["pattern"]) == ("A code.", "^x")
    assert (found["count"]["default"], found["count"]["description"]) == (
        3,
        "How many.",
    )


def test_the_docstring_comes_before_other_texts() -> None:
    def book(
        row: Annotated[str, "From Annotated."], code: str = Field(description="Field.")
    ) -> str:
        """Book.

        Args:
            row: From the docstring.
            code: Too.
        """
        return ""

    assert properties(book)["row"]["description"] == "From the docstring."
    assert properties(book)["code"]["description"] == "Too."
    plain = properties(book, use_docstring_info=False)
    assert plain["row"]["description"] == "From Annotated."
    assert plain["code"]["description"] == "Field."


def test_a_text_beside_a_reference_is_put_into_what_it_refers_to() -> None:
    def send(colour: Colour = Colour.RED, other: Colour = Colour.BLUE) -> str:
        """Send.

        Args:
            colour: Its colour.
        """
        return ""

    assert properties(send)["colour"] == {
        "default": "red",
        "description": "Its colour.",
        "enum": ["red", "blue"],
        "title": "Colour",
        "type": "string",
    }


def test_objects_of_every_kind_are_closed_and_require_their_keys() -> None:
    def send(size: Size, parcel: Parcel, to: Place, tree: Tree) -> str:
        return ""

    definitions = function_schema(send).params_json_schema["$defs"]

    assert {
        name: (kind["additionalProperties"], kind["required"])
        for name, kind in definitions.items()
    } == {
        "Size": (False, ["width", "depth"]),
        "Parcel": (False, ["weight", "notes"]),
        "Place": (False, ["street", "number"]),
        "Tree": (False, ["value", "branches"]),
    }
    assert definitions["Tree"]["properties"]["branches"]["items"] == {
        "$ref": "#/$defs/Tree"
    }


def test_a_choice_by_a_key_becomes_any_of() -> None:
    def keep(pet: Pet) -> str:
        return ""

    found = function_schema(keep).params_json_schema["$defs"]["Pet"]["properties"]

    assert found["pet"]["anyOf"] == [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}]
    assert "oneOf" not in found["pet"]


@pytest.mark.parametrize("name", ["_hidden", "schema", "json", "copy", "model_config"])
def test_a_parameter_may_have_a_name_that_pydantic_uses_itself(name: str) -> None:
    space: dict[str, Any] = {}
    exec(f"def keep({name}: int) -> int:\n    return {name}", space)  # noqa: S102

    assert list(properties(space["keep"])) == [name]
    assert called(space["keep"], {name: 3}) == 3


# What is called, and with what


def test_arguments_arrive_where_the_function_takes_them() -> None:
    def take(first: int, /, second: str, *rest: float, key: bool, **more: int) -> Any:
        return first, second, rest, key, more

    given = {
        "first": 1,
        "second": "b",
        "rest": [1.5, 2.5],
        "key": True,
        "more": {"first": 7, "x": 8},
    }

    assert called(take, given, strict_json_schema=False) == (
        1,
        "b",
        (1.5, 2.5),
        True,
        {"first": 7, "x": 8},
    )


def test_a_further_key_may_not_stand_for_a_parameter() -> None:
    def take(amount: int, **more: int) -> int:
        return amount

    with pytest.raises(ModelBehaviorError, match="amount"):
        called(take, {"amount": 1, "more": {"amount": 9}}, strict_json_schema=False)


def test_limits_of_further_values_are_those_of_each() -> None:
    def take(*rest: Annotated[int, Field(gt=1), "Numbers."], key: int = 0) -> int:
        return 0

    assert properties(take)["rest"] == {
        "title": "Rest",
        "description": "Numbers.",
        "type": "array",
        "items": {"type": "integer", "exclusiveMinimum": 1},
    }


def test_keywords_of_any_name_are_refused_in_strict_mode() -> None:
    def take(**more: int) -> int:
        return 0

    with pytest.raises(UserError, match=r"\*\*more.*strict_mode=False"):
        function_schema(take)


def test_further_values_of_a_fixed_tuple_are_refused() -> None:
    def take(*pairs: tuple[int, str]) -> int:
        return 0

    with pytest.raises(UserError, match="of each value"):
        function_schema(take)


class Desk:
    """A desk."""

    def __init__(self, name: str) -> None:
        self.name = name

    def find(self, what: str) -> str:
        """Find a thing."""
        return f"{self.name}: {what}"

    @classmethod
    def make(cls, what: str) -> str:
        return f"{cls.__name__}: {what}"

    @staticmethod
    def twice(what: str) -> str:
        return what * 2

    def __call__(self, what: str, times: int = 1) -> str:
        """Ask the desk.

        Args:
            what: The question.
        """
        return f"{self.name}: {what * times}"


def test_bound_methods_class_methods_and_static_methods_are_tools() -> None:
    assert list(properties(Desk("d").find)) == ["what"]
    assert called(Desk("d").find, {"what": "x"}) == "d: x"
    assert called(Desk.make, {"what": "x"}) == "Desk: x"
    assert called(Desk.twice, {"what": "x"}) == "xx"


def test_a_method_that_is_not_bound_is_refused() -> None:
    with pytest.raises(UserError, match="bound method"):
        function_schema(Desk.find)


def test_what_cannot_be_called_is_refused() -> None:
    with pytest.raises(UserError, match="cannot be called"):
        function_tool(Desk.__dict__["make"])


def test_a_callable_object_is_named_after_its_class() -> None:
    schema = function_schema(Desk("d"))

    assert (schema.name, schema.description) == ("Desk", "A desk.")
    assert schema.params_json_schema["properties"]["what"]["description"] == (
        "The question."
    )
    assert called(Desk("d"), {"what": "x", "times": 2}) == "d: xx"


def test_what_a_partial_fixes_no_model_sees_or_changes() -> None:
    def pay(account: str, amount: int, currency: str = "EUR", note: str = "") -> Any:
        """Pay.

        Args:
            amount: In cents.
        """
        return account, amount, currency, note

    bound = functools.partial(pay, "ours", currency="CHF")
    schema = function_schema(bound)

    assert (schema.name, schema.description) == ("pay", "Pay.")
    assert list(schema.params_json_schema["properties"]) == ["amount", "note"]
    assert called(bound, {"amount": 5, "note": "n"}) == ("ours", 5, "CHF", "n")


def test_a_wrapper_is_seen_as_what_it_wraps() -> None:
    def pay(amount: int) -> int:
        """Pay."""
        return amount

    @functools.wraps(pay)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return pay(*args, **kwargs)

    assert function_schema(wrapper).name == "pay"
    assert list(properties(wrapper)) == ["amount"]
    assert called(wrapper, {"amount": 5}) == 5


def test_a_lambda_needs_a_name() -> None:
    with pytest.raises(UserError, match="name_override"):
        function_schema(lambda: "")
    assert function_schema(lambda: "", name_override="nothing").name == "nothing"


def test_annotations_that_lead_nowhere_are_refused_with_their_name() -> None:
    def take(what: Nowhere) -> str:  # type: ignore[name-defined]  # noqa: F821
        return ""

    with pytest.raises(UserError, match="Nowhere"):
        function_schema(take)


@pytest.mark.parametrize(
    "annotation",
    [
        RunContextWrapper,
        RunContextWrapper[int],
        ToolContext[Any],
        "RunContextWrapper[Any]",
        Annotated[ToolContext[Any], "the context"],
        ToolContext[Any] | None,
    ],
)
def test_every_form_of_the_context_is_seen(annotation: Any) -> None:
    def take(ctx: Any, what: str) -> str:
        return what

    take.__annotations__["ctx"] = annotation
    schema = function_schema(take)

    assert schema.takes_context
    assert list(schema.params_json_schema["properties"]) == ["what"]


@pytest.mark.parametrize("kind", [Callable[[], int], asyncio.Event])
def test_a_type_that_json_cannot_hold_is_refused(kind: Any) -> None:
    def take(what: Any) -> str:
        return ""

    take.__annotations__["what"] = kind
    with pytest.raises(UserError, match="no JSON schema"):
        function_schema(take)


# Docstrings


@pytest.mark.parametrize(
    "text",
    [
        """Find it.
        At once.

        Args:
            what (str): The thing
                and more.
            *rest: Others.

        Note:
            Not of the description.

        Returns:
            That.
        """,
        """Find it.
        At once.

        Parameters
        ----------
        what : str, optional
            The thing
            and more.
        *rest
            Others.

        Returns
        -------
        str
            That.
        """,
        """Find it.
        At once.

        :param str what: The thing
            and more.
        :param rest: Others.
        :returns: That.
        """,
    ],
    ids=["google", "numpy", "sphinx"],
)
def test_the_style_of_a_docstring_is_found_out(text: str) -> None:
    said = read_docstring(text)

    assert said.description == "Find it.\nAt once."
    assert said.parameters == {"what": "The thing\nand more.", "rest": "Others."}


def test_a_section_of_parameters_needs_no_blank_line_above() -> None:
    said = read_docstring("Find it.\nArgs:\n    what: The thing.")

    assert (said.description, said.parameters) == ("Find it.", {"what": "The thing."})


def test_names_in_fenced_code_are_no_sections() -> None:
    said = read_docstring("Find.\n\n```\n\nArgs:\n    a: no\n```\n\nArgs:\n    a: yes")

    assert said.parameters == {"a": "yes"}
    assert said.description is not None
    assert "a: no" in said.description


def test_documentation_is_public() -> None:
    def find(what: str) -> None:
        """Find.

        Args:
            what: It.
        """

    said = generate_func_documentation(find)

    assert (said.name, said.description) == ("find", "Find.")
    assert said.param_descriptions == {"what": "It."}
    assert generate_func_documentation(len).param_descriptions is None


DOCSTRING_LINES = [
    *("", "  ", "Args:", "    a: b", "  a", ":param a: b", ":param", "----", "a"),
    *("Parameters", "```", "Note: x", ":", ": :", "*", "    a (b", "\ta: b"),
]


@given(
    st.lists(st.sampled_from(DOCSTRING_LINES)),
    st.sampled_from([None, "google", "numpy", "sphinx"]),
)
@example(["", "  ", ":param a: b"], None)
@example(["a", "----", "----"], "numpy")
def test_no_docstring_breaks_the_reader(lines: list[str], style: Any) -> None:
    said = read_docstring("\n".join(lines), style)

    assert said.description is None or said.description.strip()


# Strict schemas


def test_a_strict_schema_is_a_copy() -> None:
    given = {"type": "object", "properties": {"a": {"type": "string"}}}

    strict = ensure_strict_json_schema(given)

    assert given == {"type": "object", "properties": {"a": {"type": "string"}}}
    assert strict == {
        **given,
        "required": ["a"],
        "additionalProperties": False,
    }
    assert ensure_strict_json_schema({}) == {
        "type": "object",
        "properties": {},
        "required": [],
        "additionalProperties": False,
    }


def test_the_only_part_of_all_of_takes_the_place_of_the_whole() -> None:
    schema = {
        "type": "object",
        "properties": {
            "place": {"allOf": [{"$ref": "#/$defs/Place"}], "description": "Where."}
        },
        "$defs": {"Place": {"type": "object", "properties": {"x": {"default": None}}}},
    }

    assert ensure_strict_json_schema(schema)["properties"]["place"] == {
        "type": "object",
        "description": "Where.",
        "properties": {"x": {}},
        "required": ["x"],
        "additionalProperties": False,
    }


REF_LOOP = {"$defs": {"A": {"items": {"$ref": "#/$defs/A", "title": "a"}}}}
FANS_OUT = {
    "$defs": {
        f"d{at}": {
            "properties": {
                side: {"$ref": f"#/$defs/d{at + 1}", "title": side} for side in "lr"
            }
        }
        for at in range(20)
    }
    | {"d20": {"type": "string"}}
}


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        ({"type": "object", "additionalProperties": True}, "any keys|does not name"),
        ({"type": "object", "additionalProperties": {}}, "does not name"),
        ({"additionalProperties": {"type": "string"}}, "does not name"),
        ({"anyOf": [{"type": "object"}]}, "root is a choice"),
        ({"type": ["object", "null"]}, "root may be null"),
        ({"$ref": "#/$defs/B", "$defs": {}}, "not in it"),
        ({"$ref": "http://elsewhere/", "title": "t"}, "not in it"),
        ({"$ref": "#/$defs/A", "minLength": 1, "$defs": {"A": {}}}, "minLength"),
        ({"items": {"$id": "x", "items": {"$ref": "#/a"}}, "a": {}}, "another"),
        ({"properties": {"a": True}}, "must be an object"),
        (REF_LOOP, "deeper"),
        (FANS_OUT, "grows beyond"),
        (
            {"allOf": [{"type": "string"}], "type": "integer"},
            "both say type",
        ),
        (
            {
                "properties": {"a": {"allOf": [{"$ref": "#/$defs/L"}]}},
                "$defs": {"L": {"$ref": "#/$defs/L"}},
            },
            "leads back",
        ),
    ],
)
def test_what_strict_mode_cannot_say_is_refused(
    schema: dict[str, Any], told: str
) -> None:
    with pytest.raises(UserError, match=told):
        ensure_strict_json_schema(schema)


def test_depth_is_bounded_before_anything_is_copied() -> None:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(100 * MAX_DEPTH):
        schema = {"items": schema}
    loop: dict[str, Any] = {}
    loop["items"] = loop

    for hostile in (schema, loop):
        with pytest.raises(UserError, match="deeper"):
            ensure_strict_json_schema(hostile)


def test_open_objects_of_strangers_are_refused_on_demand() -> None:
    schema = {"properties": {"a": {"type": "object"}}}

    assert ensure_strict_json_schema(schema)["properties"]["a"] == {
        "type": "object",
        "additionalProperties": False,
    }
    with pytest.raises(UserError, match="does not name"):
        ensure_strict_json_schema(schema, reject_open_objects=True)


LEAVES: st.SearchStrategy[Any] = st.sampled_from(
    [
        {},
        {"type": "string"},
        {"type": ["object", "null"]},
        {"default": None},
        {"$ref": "#/$defs/A"},
        {"$ref": "#/$defs/B", "description": "b"},
        {"$ref": "#/nowhere"},
        {"$ref": 3},
        None,
        True,
        [],
    ]
)
SCHEMA_KEYS = [
    *("anyOf", "oneOf", "allOf", "prefixItems", "items", "type", "required"),
    *("title", "$id", "additionalProperties"),
]


def _grown(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    many = st.lists(inner, max_size=3)
    return st.dictionaries(
        st.sampled_from(["properties", "$defs"]),
        st.one_of(st.dictionaries(st.sampled_from("ABab"), inner), inner),
    ) | st.dictionaries(
        st.sampled_from(SCHEMA_KEYS),
        st.one_of(many, inner, st.just("object")),
    )


@given(
    st.dictionaries(
        st.sampled_from(["properties", "$defs", "anyOf", "items"]),
        st.recursive(LEAVES, _grown, max_leaves=12),
    )
)
def test_any_schema_is_made_strict_or_refused(schema: dict[str, Any]) -> None:
    before = json.dumps(schema)
    try:
        strict = ensure_strict_json_schema(schema)
    except UserError:
        strict = {}

    assert json.dumps(schema) == before
    for node in _objects(strict):
        assert node["additionalProperties"] is False


def _objects(node: Any) -> list[Any]:
    """Return the schemas of objects in `node`, found where schemas may stand."""
    if not isinstance(node, dict):
        return []
    inside = [*_values(node, "properties"), *_values(node, "$defs")]
    for key in ("anyOf", "allOf"):
        parts = node.get(key)
        inside += parts if isinstance(parts, list) else []
    found = [each for child in [*inside, node.get("items")] for each in _objects(child)]
    return [*found, node] if node.get("type") == "object" else found


def _values(node: dict[str, Any], key: str) -> list[Any]:
    found = node.get(key)
    return list(found.values()) if isinstance(found, dict) else []
