"""Host names in disguise, each with the spelling that the network or a reader gives."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .findings import Finding

_PUNYCODE = re.compile(r"(?i)(?<![a-z0-9-])(?:[a-z0-9-]{1,63}\.){0,8}xn--[a-z0-9.-]+")
_SEEN = 80
# What stands before the last @ of an address is a name and a password, and no host.
_HOST = re.compile(
    r"(?i)\b[a-z][a-z0-9+.-]{1,20}://(?:([^\s/@⟦]{0,200})@)?([^\s/:?#@⟦]{1,253})"
)
_MAIL = re.compile(r"(?<=[\w.+-]@)((?:[^\W_][\w-]{0,62}\.)+[^\W\d_]{2,24})")
_WELL_KNOWN = re.compile(
    r"(?i)(?<![\w@./-])((?:[^\W_][\w-]{0,62}\.){1,8}"
    r"(?:com|net|org|info|biz|io|co|app|dev|shop|online|site|xyz|bank|eu))\b(?![\w.-])"
)
_MAY_BE_HOST = re.compile(
    r"(?i)\.(?:com|net|org|info|biz|io|co|app|dev|shop|online|site|xyz|bank|eu)\b"
)
_NUMBER = re.compile(r"0[xX][0-9a-fA-F]{1,8}|[0-9]{1,10}")


def findings(text: str) -> Iterator[Finding]:
    """Yield the hosts in `text` that are not what they look like."""
    if "xn--" in text.lower():
        yield from _punycode(text)
    if "://" in text:
        yield from _in_addresses(text)
    if text.isascii():
        return
    if "@" in text:
        yield from _spelled_otherwise(text, _MAIL)
    if _MAY_BE_HOST.search(text):
        yield from _spelled_otherwise(text, _WELL_KNOWN)


def _punycode(text: str) -> Iterator[Finding]:
    for match in _PUNYCODE.finditer(text):
        try:
            spelled = match.group().lower().rstrip(".").encode().decode("idna")
        except UnicodeError:
            spelled = "no valid name"
        yield _host(match, 0, f"punycode: {_short(spelled)}", "Reads as this")


def _in_addresses(text: str) -> Iterator[Finding]:
    for match in _HOST.finditer(text):
        user, host = match.group(1), match.group(2)
        if not host.isascii():
            yield _network(match, 2)
        elif user and re.search(r"[.:]", user):
            end = match.end(2)
            label = f"host: {_short(host)}"
            yield Finding(match.start(1), end, label, "The host behind the @", True)
        elif _NUMBER.fullmatch(host):
            yield _host(match, 2, f"host: {_dotted(host)}", "A number for a host")


def _spelled_otherwise(text: str, pattern: re.Pattern[str]) -> Iterator[Finding]:
    for match in pattern.finditer(text):
        if not match.group(1).isascii():
            yield _network(match, 1)


def _network(match: re.Match[str], group: int) -> Finding:
    try:
        spelled = match.group(group).encode("idna").decode("ascii")
    except UnicodeError:
        spelled = "no valid host"
    title = "How the network reads this host"
    return _host(match, group, f"host: {_short(spelled)}", title)


def _host(match: re.Match[str], group: int, label: str, title: str) -> Finding:
    return Finding(match.start(group), match.end(group), label, title, True)


def _dotted(number: str) -> str:
    value = int(number, 16 if number[:2] in ("0x", "0X") else 10)
    if value > 0xFFFFFFFF:
        return "no valid host"
    return ".".join(str(value >> shift & 255) for shift in (24, 16, 8, 0))


def _short(host: str) -> str:
    """Return a host's other spelling, as far as a chip has room."""
    shown = host.encode("ascii", "backslashreplace").decode() if _is_odd(host) else host
    return shown if len(shown) <= _SEEN else f"{shown[: _SEEN - 1]}…"


def _is_odd(host: str) -> bool:
    """Say whether a decoded name holds what must not be shown as it is."""
    return not host.replace("-", "").replace(".", "").isalnum()
