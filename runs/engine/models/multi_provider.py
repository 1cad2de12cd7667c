"""Finds models of several providers by the first part of their names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ..errors import UserError
from .interface import Model, ModelProvider
from .provider import OpenAIProvider

if TYPE_CHECKING:
    from openai import AsyncOpenAI


class MultiProviderMap:
    """Which provider has the models whose names begin with `prefix/`."""

    def __init__(self) -> None:
        self._providers: dict[str, ModelProvider] = {}

    def has_prefix(self, prefix: str) -> bool:
        return prefix in self._providers

    def get_mapping(self) -> dict[str, ModelProvider]:
        """Return a copy."""
        return dict(self._providers)

    def set_mapping(self, mapping: dict[str, ModelProvider]) -> None:
        """Keep these providers and no others."""
        self._providers = dict(mapping)

    def get_provider(self, prefix: str) -> ModelProvider | None:
        return self._providers.get(prefix)

    def add_provider(self, prefix: str, provider: ModelProvider) -> None:
        self._providers[prefix] = provider

    def remove_provider(self, prefix: str) -> None:
        """Forget the prefix. Raises KeyError when it is not known."""
        del self._providers[prefix]


class MultiProvider(ModelProvider):
    """Gives the models of `provider_map` by prefix, and OpenAI's by `openai/` or none.

    A server whose own names begin so is asked with the whole name where
    `openai_prefix_mode`, or for other prefixes `unknown_prefix_mode`, is `model_id`.
    All that begins with `openai_` besides goes to `OpenAIProvider`.
    """

    def __init__(
        self,
        *,
        provider_map: MultiProviderMap | None = None,
        openai_api_key: str | None = None,
        openai_base_url: str | None = None,
        openai_client: AsyncOpenAI | None = None,
        openai_organization: str | None = None,
        openai_project: str | None = None,
        openai_use_responses: bool | None = None,
        openai_use_responses_websocket: bool | None = None,
        openai_strict_feature_validation: bool = True,
        openai_prefix_mode: Literal["alias", "model_id"] = "alias",
        unknown_prefix_mode: Literal["error", "model_id"] = "error",
        openai_buffer_streamed_tool_calls: bool = False,
    ) -> None:
        if openai_prefix_mode not in {"alias", "model_id"}:
            raise UserError("openai_prefix_mode is 'alias' or 'model_id'.")
        if unknown_prefix_mode not in {"error", "model_id"}:
            raise UserError("unknown_prefix_mode is 'error' or 'model_id'.")
        self.provider_map = provider_map
        self.openai_provider = OpenAIProvider(
            openai_api_key,
            openai_base_url,
            openai_client=openai_client,
            organization=openai_organization,
            project=openai_project,
            use_responses=openai_use_responses,
            use_responses_websocket=openai_use_responses_websocket,
            strict_feature_validation=openai_strict_feature_validation,
            buffer_streamed_tool_calls=openai_buffer_streamed_tool_calls,
        )
        self._keeps_openai_prefix = openai_prefix_mode == "model_id"
        self._keeps_unknown_prefix = unknown_prefix_mode == "model_id"

    def get_model(self, model_name: str | None) -> Model:
        """Return the model of that name. Raises UserError for an unknown prefix."""
        prefix, slash, rest = (model_name or "").partition("/")
        if not slash:
            return self.openai_provider.get_model(model_name)
        known = self.provider_map.get_provider(prefix) if self.provider_map else None
        if known is not None:
            return known.get_model(rest)
        if prefix == "openai":
            whole = self._keeps_openai_prefix
            return self.openai_provider.get_model(model_name if whole else rest)
        if self._keeps_unknown_prefix:
            return self.openai_provider.get_model(model_name)
        raise UserError(
            f"There is no provider for {prefix!r} of model {model_name!r}: add one to "
            "the provider_map, or set unknown_prefix_mode='model_id' for a server that "
            "has such names."
        )

    async def aclose(self) -> None:
        """Close every provider; the first that fails is raised once all were asked."""
        mapped = self.provider_map.get_mapping().values() if self.provider_map else []
        failures: list[Exception] = []
        for provider in {
            id(one): one for one in [self.openai_provider, *mapped]
        }.values():
            try:
                await provider.aclose()
            except Exception as error:
                failures.append(error)
        if failures:
            raise failures[0]
