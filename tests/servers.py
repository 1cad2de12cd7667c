"""The servers that some tests talk to: where they are, and whether they answer."""

from __future__ import annotations

import os
from urllib.parse import urlsplit, urlunsplit

import psycopg
import redis

ON_POSTGRESQL = os.environ.get("PLACET_TEST_ON", "") == "postgresql"
"""Whether this run's database is PostgreSQL's."""

DATABASE_URL = (
    os.environ.get("TEST_DATABASE_URL") or "postgresql://postgres@127.0.0.1:5432/placet"
)
REDIS_URL = os.environ.get("TEST_REDIS_URL") or "redis://127.0.0.1:6379"
# Two test runs on one Redis do not hear each other.
REDIS_PREFIX = f"placet-test-{os.getpid()}"

REQUIRED = os.environ.get("CI", "") == "true"
"""Whether a server that does not answer is a failure; else its tests are left out."""

PATIENCE_S = 5


def database_url(name: str) -> str:
    """Return the address of another database on the same server."""
    return urlunsplit(urlsplit(DATABASE_URL)._replace(path=f"/{name}"))


def postgresql_fault() -> str:
    """Return why PostgreSQL cannot be used, empty when it can."""
    try:
        psycopg.connect(database_url("postgres"), connect_timeout=PATIENCE_S).close()
    except psycopg.Error as error:
        return f"PostgreSQL (TEST_DATABASE_URL) cannot be used: {error}"
    return ""


def redis_fault() -> str:
    """Return why Redis cannot be used, empty when it can."""
    try:
        with redis.Redis.from_url(
            REDIS_URL, socket_connect_timeout=PATIENCE_S, socket_timeout=PATIENCE_S
        ) as server:
            server.ping()
    except redis.RedisError as error:
        return f"Redis (TEST_REDIS_URL) cannot be used: {error}"
    return ""
