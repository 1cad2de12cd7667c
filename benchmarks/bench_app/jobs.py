"""A job that does nothing but say when it began; with PostgreSQL only."""

from __future__ import annotations

from procrastinate.contrib.django import app

from . import marks

QUEUE = "bench"


@app.task(name="bench.bare", queue=QUEUE)
async def bare(name: str) -> None:
    marks.mark(name)
