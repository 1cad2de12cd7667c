"""States encrypted: AES-256-GCM, bound to where they are kept.

Needs the package `cryptography`, an optional extra.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from typing import TYPE_CHECKING, Any

from ..agent import Agent
from ..errors import InvalidRunState, UserError
from ..state.run_state import RunState
from .loading import load_state_with_migration

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

PREFIX = "placet1."
"""Begins every encrypted text; a later way of encrypting begins otherwise."""

KEY_BYTES = 32
NONCE_BYTES = 12


def new_state_key() -> str:
    """Return a fresh key as text: 32 random bytes in URL-safe base64."""
    return base64.urlsafe_b64encode(os.urandom(KEY_BYTES)).decode()


def encrypt_state(
    state: RunState[Any], key: str | bytes, *, bound_to: str = "", **options: Any
) -> str:
    """Return the state as text that only `key` reads.

    `bound_to` names the place it is kept in, such as a row's id: moved to another
    place it cannot be read. `options` are those of `RunState.to_json`. Raises
    UserError when the key is none, or the package `cryptography` is missing.
    """
    return encrypt_text(json.dumps(state.to_json(**options)), key, bound_to)


async def decrypt_state(
    encrypted: str,
    key: str | bytes,
    agent: Agent[Any] | None = None,
    *,
    bound_to: str = "",
    **options: Any,
) -> RunState[Any]:
    """Return the state that `encrypt_state` wrote, migrated to the current schema.

    `agent`, `options` and errors are those of `load_state_with_migration`; raises
    InvalidRunState too when the text was changed, or belongs to another key or place.
    """
    text = decrypt_text(encrypted, key, bound_to)
    return await load_state_with_migration(text, agent, **options)


def encrypt_text(text: str, key: str | bytes, bound_to: str) -> str:
    """Return `text`, encrypted. Raises as `encrypt_state`."""
    nonce = os.urandom(NONCE_BYTES)
    sealed = _cipher(key).encrypt(nonce, text.encode(), bound_to.encode())
    return PREFIX + base64.urlsafe_b64encode(nonce + sealed).decode()


def decrypt_text(encrypted: str, key: str | bytes, bound_to: str) -> str:
    """Return the text that `encrypt_text` encrypted. Raises as `decrypt_state`."""
    cipher = _cipher(key)
    if not is_encrypted(encrypted):
        raise InvalidRunState("The state is not encrypted, though a key was given.")
    try:
        sealed = base64.b64decode(encrypted[len(PREFIX) :], b"-_", validate=True)
        nonce, sealed = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
        return cipher.decrypt(nonce, sealed, bound_to.encode()).decode()
    except Exception as error:
        # Whatever is wrong with a text from outside, it is not one of ours.
        raise InvalidRunState(
            "The encrypted state cannot be read: it was changed, or another key or "
            "place belongs to it."
        ) from error


def is_encrypted(text: str) -> bool:
    """Say whether `text` comes from `encrypt_state`."""
    return text.startswith(PREFIX)


def _cipher(key: str | bytes) -> AESGCM:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as error:
        raise UserError(
            "Encrypted states need the package `cryptography`; install Placet with its "
            "extra `encryption`."
        ) from error
    return AESGCM(_key(key))


def _key(key: str | bytes) -> bytes:
    raw = key
    if isinstance(key, str):
        try:
            raw = base64.b64decode(key, b"-_", validate=True)
        except (binascii.Error, ValueError):
            raw = b""
    if not isinstance(raw, bytes) or len(raw) != KEY_BYTES:
        # A password is no key: stretching one here would only hide how weak it is.
        raise UserError(
            "A state's key is 32 random bytes, or their URL-safe base64; make one with "
            "new_state_key()."
        )
    return raw
