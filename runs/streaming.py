"""Long answers written while they are read, whatever server asks for them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, StreamingHttpResponse

CHUNK_CHARS = 64_000


def streamed(
    request: HttpRequest, pieces: Iterator[str], *, content_type: str, name: str
) -> StreamingHttpResponse:
    """Return `pieces` as a file to be saved as `name`; memory does not grow with them.

    Under ASGI Django would gather all of a plain iterator before it sends any.
    """
    chunks = _chunks(pieces)
    body = _awaited(chunks) if isinstance(request, ASGIRequest) else chunks
    response = StreamingHttpResponse(body, content_type=content_type)
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    response["Cache-Control"] = "no-store"
    response["X-Content-Type-Options"] = "nosniff"
    return response


def _chunks(pieces: Iterator[str]) -> Iterator[bytes]:
    gathered: list[str] = []
    length = 0
    for piece in pieces:
        gathered.append(piece)
        length += len(piece)
        if length >= CHUNK_CHARS:
            yield "".join(gathered).encode("utf-8", "backslashreplace")
            gathered, length = [], 0
    yield "".join(gathered).encode("utf-8", "backslashreplace")


async def _awaited(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    following = sync_to_async(lambda: next(chunks, None))
    while (chunk := await following()) is not None:
        yield chunk
