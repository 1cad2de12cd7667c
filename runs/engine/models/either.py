"""One model of a server that may have either of OpenAI's two ways to ask."""

from __future__ import annotations

from collections.abc import AsyncIterator, Hashable
from typing import Any

import openai

from .interface import Model, ModelResponse, TResponseStreamEvent
from .retry_advice import ModelRetryAdvice, ModelRetryAdviceRequest

# What servers answer to an address they do not have.
_NO_SUCH_ADDRESS = {404, 405, 501}
_chat_only: set[str] = set()


class EitherModel(Model):
    """Asks `responses` first, and `chat` where the server does not know that way.

    What a server knows is remembered under `server` for the life of the process.
    """

    def __init__(self, responses: Model, chat: Model, *, server: str) -> None:
        self._responses = responses
        self._chat = chat
        self._server = server

    async def close(self) -> None:
        await self._responses.close()
        await self._chat.close()

    def get_retry_advice(
        self, request: ModelRetryAdviceRequest
    ) -> ModelRetryAdvice | None:
        is_chat = self._server in _chat_only
        return (self._chat if is_chat else self._responses).get_retry_advice(request)

    def rate_limit_key(self) -> Hashable | None:
        return self._responses.rate_limit_key()

    async def get_response(self, *args: Any, **kwargs: Any) -> ModelResponse:
        if self._server not in _chat_only:
            try:
                return await self._responses.get_response(*args, **kwargs)
            except openai.APIStatusError as error:
                if not _lacks_responses(error):
                    raise
        answer = await self._chat.get_response(*args, **kwargs)
        _chat_only.add(self._server)
        return answer

    async def stream_response(
        self, *args: Any, **kwargs: Any
    ) -> AsyncIterator[TResponseStreamEvent]:
        if self._server not in _chat_only:
            try:
                async for event in self._responses.stream_response(*args, **kwargs):
                    yield event
                return
            except openai.APIStatusError as error:
                if not _lacks_responses(error):
                    raise
        async for event in self._chat.stream_response(*args, **kwargs):
            _chat_only.add(self._server)
            yield event


def _lacks_responses(error: openai.APIStatusError) -> bool:
    return error.status_code in _NO_SUCH_ADDRESS and error.code != "model_not_found"
