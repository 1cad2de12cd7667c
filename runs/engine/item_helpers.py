"""Readers of items, for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, TypeAdapter

from .digest import JSONObject
from .items import (
    MessageOutputItem,
    RunItem,
    input_items,
    model_text,
    parts_of,
    plain_item,
    refusal_of,
)
from .tools.tool_outputs import encode_json_output, encode_output


class ItemHelpers:
    """Readers of items."""

    @staticmethod
    def input_to_new_input_list(input: str | Sequence[JSONObject]) -> list[JSONObject]:
        return input_items(input)

    @staticmethod
    def text_message_output(message: MessageOutputItem) -> str:
        return model_text(message.raw)

    @staticmethod
    def text_message_outputs(items: Sequence[RunItem]) -> str:
        """Return the texts of all messages among `items`, joined."""
        return "".join(
            model_text(item.raw)
            for item in items
            if isinstance(item, MessageOutputItem)
        )

    @staticmethod
    def extract_text(message: JSONObject | BaseModel) -> str | None:
        """Return a message's text, or None when it has none."""
        return model_text(plain_item(message)) or None

    @staticmethod
    def extract_refusal(message: JSONObject | BaseModel) -> str | None:
        """Return what a message refuses with, or None when it does not."""
        return refusal_of(plain_item(message)) or None

    @staticmethod
    def extract_last_text(message: JSONObject | BaseModel) -> str | None:
        """Return the text of a message's last part, or None when that is none."""
        parts = parts_of(plain_item(message))
        return parts[-1].get("text") if parts else None

    @staticmethod
    def extract_last_content(message: JSONObject | BaseModel) -> str:
        """Return the text or refusal of a message's last part; empty without parts."""
        parts = parts_of(plain_item(message))
        return (
            (parts[-1].get("text") or parts[-1].get("refusal") or "") if parts else ""
        )

    @staticmethod
    def tool_call_output_item(
        tool_call: JSONObject | BaseModel,
        output: Any,
        *,
        output_json_schema: JSONObject | None = None,
        output_type_adapter: TypeAdapter[Any] | None = None,
    ) -> JSONObject:
        """Return the item that gives `tool_call` its output, as a model reads it.

        With a schema or an adapter that is the text of a JSON object; raises ValueError
        when `output` makes none.
        """
        is_json = output_json_schema is not None or output_type_adapter is not None
        encoded = (
            encode_json_output(output, output_type_adapter)
            if is_json
            else encode_output(output)
        )
        item: JSONObject = {
            "type": "function_call_output",
            "call_id": plain_item(tool_call)["call_id"],
            "output": encoded,
        }
        return ItemHelpers.copy_tool_call_caller(tool_call, item)

    @staticmethod
    def copy_tool_call_caller(
        tool_call: JSONObject | BaseModel, output_item: JSONObject
    ) -> JSONObject:
        """Return `output_item`, which now names the program that made the call."""
        if caller := plain_item(tool_call).get("caller"):
            output_item["caller"] = caller
        return output_item
