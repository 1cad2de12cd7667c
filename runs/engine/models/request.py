"""What both adapters do alike when they write a request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from ..errors import UserError
from .client import find_base_url, shared_client
from .defaults import default_client

if TYPE_CHECKING:
    from openai import AsyncOpenAI

    from ..model_settings import ModelSettings


class ClientSource:
    """A client that was given, or the running loop's for a credential and address."""

    def __init__(
        self,
        given: AsyncOpenAI | None = None,
        api_key: str | None = None,
        base_url: str | None = None,
        organization: str | None = None,
        project: str | None = None,
    ) -> None:
        self._given = given
        self._api_key = api_key
        self._base_url = base_url
        self._organization = organization
        self._project = project

    def get(self, settings: ModelSettings | None = None) -> AsyncOpenAI:
        """Return the client. Raises UserError when there is no key.

        Where the settings say how to retry, one that was given does not retry by
        itself: two would multiply.
        """
        client = self._given or self._default()
        if client is None:
            return shared_client(
                self._api_key,
                self._base_url,
                organization=self._organization,
                project=self._project,
            )
        run_decides = settings is not None and settings.retry is not None
        if run_decides and client.max_retries:
            return client.with_options(max_retries=0)
        return client

    @property
    def address(self) -> str:
        """Of the server; empty for OpenAI's own."""
        client = self._given or self._default()
        given = str(client.base_url) if client else find_base_url(self._base_url)
        return (given or "").rstrip("/")

    def _default(self) -> AsyncOpenAI | None:
        own = (self._api_key, self._base_url, self._organization, self._project)
        return None if any(own) else default_client()


def only_set(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return `values` without those that are None."""
    return {name: value for name, value in values.items() if value is not None}


async def send(
    create: Callable[..., Awaitable[Any]],
    request: dict[str, Any],
    settings: ModelSettings,
    **more: Any,
) -> Any:
    """Return what `create` gives for the request with the settings' extras.

    Half a character (a lone surrogate, as file names and models bring them) cannot be
    sent: only then is the text looked through, and `?` goes in its place.
    """
    whole = with_extras(request, settings) | more
    try:
        return await create(**whole)
    except UnicodeEncodeError:
        return await create(**_encodable(whole))


def with_extras(request: dict[str, Any], settings: ModelSettings) -> dict[str, Any]:
    """Return `request` with the settings' `extra_*` parameters.

    Raises UserError when `extra_args` names what another setting gives already.
    """
    extra = settings.extra_args or {}
    twice = sorted(request.keys() & extra.keys())
    if twice:
        raise UserError(
            f"extra_args gives {', '.join(twice)}, which another setting gives too; "
            "keep one of them."
        )
    transport = {
        "extra_headers": settings.extra_headers,
        "extra_query": settings.extra_query,
        "extra_body": settings.extra_body,
    }
    return {**request, **only_set(transport), **extra}


def plain(value: Any) -> Any:
    """Return a pydantic value as plain JSON, anything else as it is."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_unset=True, by_alias=True)
    return value


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, Mapping):
        return {_encodable(key): _encodable(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_encodable(part) for part in value]
    return value
