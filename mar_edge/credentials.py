"""Hides passwords and tokens of addresses in all texts."""

from __future__ import annotations

import re

HIDDEN = "***"

_SCHEME = re.compile(r"\b[A-Za-z][A-Za-z0-9+.-]+:/+")
_QUERY = re.compile(r"[?#](?:[^\s'\"<>]*[^\s'\"<>:,.)])?")  # without the punctuation of a sentence
_VALUE = re.compile(r"([?&;#]|^)([^=?&;#]*)(=?)([^?&;#]*)")
_SECRET_IN_PATH = re.compile(
    r"((?:user|usr|login|pass|pwd|psw|token|key|secret|auth|sig|session)[\w.-]*=)(?:[^/&;,\s'\"<>]*[^/&;,\s'\"<>:.)])?",
    re.IGNORECASE,
)
_AMBIGUOUS = re.compile(r"[?#]")  # before an @: in a password, or the @ is in a query
_WORD = re.compile(r"^[^\s'\"<>]*[^\s'\"<>:,.)]")
# "admin:secret@host", as typed without "rtsp://"; a colon and an @ deep in a file's path are not a login
_BARE_LOGIN = re.compile(r"(?:(?<=//)|(?<![\w/.@:%+~-]))[\w.%+~-]*:[^\s/@'\"]+@(?=[\w\[])")
# "rtsp//admin:secret@host" and "rtsp;//...", which are paths, and lose a slash
_MISTYPED_LOGIN = re.compile(r"\b((?:rtsps?|https?|mqtts?)\s?;?\s?:?/+)[\w.%+~-]*:[^\s/@'\"]+@(?=[\w\[])")


def without_credentials(text: str) -> str:
    """Return a text with the credentials in its addresses hidden.

    Login names and passwords before an `@`, all values of a query, and values in a path that are named like secrets
    become `***`. A password may contain any character, even `@`, `/` and spaces, so if an address is followed by an `@`
    in one text, everything between them is hidden: too much rather than too little. Texts of `file://` stay.

    Args:
        text: an address, or any text that may quote some, such as a library's message.
    """
    schemes = list(_SCHEME.finditer(text))
    ends = [*(scheme.start() for scheme in schemes), len(text)]
    parts = [_BARE_LOGIN.sub(f"{HIDDEN}@", _MISTYPED_LOGIN.sub(rf"\1{HIDDEN}@", text[: ends[0]]))]
    for scheme, end in zip(schemes, ends[1:], strict=True):
        rest = text[scheme.end() : end]
        is_file = scheme.group().lower().startswith("file:")
        parts += [scheme.group(), rest if is_file else _hide(rest)]
    return "".join(parts)


def address_without_credentials(address: str) -> str:
    """Return one address with its credentials hidden, regardless of their characters."""
    scheme = _SCHEME.match(address)
    start = scheme.end() if scheme else 0
    head, login, rest = address[start:].rpartition("@")
    if login and _AMBIGUOUS.search(head):
        return address[:start] + HIDDEN
    place, mark, query = rest.partition("?")
    quoted = place + mark + re.sub(r"[\s'\"<>:]", "_", query)
    return without_credentials(address[:start] + (f"{HIDDEN}@" if login else "") + quoted)


def _hide(rest: str) -> str:
    """Return what follows `scheme://`, up to the next one, without credentials."""
    head, login, rest = rest.rpartition("@")
    if login and _AMBIGUOUS.search(head):
        return HIDDEN + _WORD.sub("", rest, count=1)
    rest = _SECRET_IN_PATH.sub(rf"\1{HIDDEN}", _QUERY.sub(_hide_values, rest))
    return f"{HIDDEN}@{rest}" if login else rest


def _hide_values(query: re.Match[str]) -> str:
    """Return `?name=***&other=***`."""
    return _VALUE.sub(
        lambda one: one[1] + (one[2] + "=" if one[3] else "") + (HIDDEN if one[4] or one[2] else ""), query[0]
    )
