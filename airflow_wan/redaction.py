"""The one place that hides secrets: what signs a URL, users and passwords in URLs, and API keys.

============== ============================================================================================
`redact`       free text, for logs and errors; leaves a mark where something was cut
`shareable`    JSON, for records that go with the video
`identity`     JSON, for comparing requests: of a URL, only what names a file; see `airflow_wan.web_urls`
`secrets_in`   the secrets themselves, for Airflow to mask
`KeyMask`      one known key, in text of any kind
`clean_text`   hides nothing: it replaces the characters that a log, a database or JSON cannot take
============== ============================================================================================

All of it takes linear time, whatever the input, and changes nothing when it is applied to its own output.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import html
import json
import math
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from airflow_wan.web_urls import file_identity, has_signing_name, is_signed, is_web_url, signed_segments

__all__ = ["KeyMask", "clean_text", "identity", "redact", "redact_beginning", "secrets_in", "shareable"]

MAX_DEPTH = 50
"""Levels of containers in shareable JSON; Python itself gives up at some hundreds."""

# Stores in whose URIs nothing but a key follows the host; a key may hold a question mark.
_STORES = frozenset({"s3", "s3a", "gs", "gcs", "oss", "abfs", "abfss", "wasb", "wasbs", "az", "adl", "file", "memory"})
_SCHEME = re.compile(r"(?:^|[^a-z0-9+.-])([a-z][a-z0-9+.-]*)$", re.IGNORECASE)

# A URL from its "://" on, up to a character that no URL may hold. JSON may escape its slashes; a URL within a URL is
# percent-encoded, once or more. An apostrophe may be part of a URL, and ends one that begins after an apostrophe.
_URL = re.compile(
    r"(?P<quote>'[a-z][a-z0-9+.-]*)?(?::|%(?:25)*3a)(?:\\?/|%(?:25)*2f){2}"
    r"[^\s\"'<>]*(?:'(?(quote)(?=[\w%&=]))[^\s\"'<>]*)*",
    re.IGNORECASE,
)
_LONGEST_SCHEME = 10
_QUERY_START = re.compile(r"[?#]|%(?:25)*3f", re.IGNORECASE)

# From a "://" to the last "@" before the path; what ends it is percent-encoded as often as the "://" is. Each
# "://" ends the user of the one before it, so that no text is searched again and again.
_USER_INFO = re.compile(
    r"(?P<separator>(?::|%(?P<level>(?:25)*)3a)(?:(?:\\?/){2}|%(?P<slash>(?:25)*)2f%(?P=slash)2f))"
    r"(?P<user>[^/?#\s\"<>%]*(?:%(?!(?:(?P=level)|(?P=slash))(?:2f|3f|23))[^/?#\s\"<>%]*)*)"
    r"(?:@|%(?P=level)40|%(?P=slash)40)",
    re.IGNORECASE,
)
_COLON = re.compile(r":|%(?:25)*3a", re.IGNORECASE)

# The query of a URL whose beginning is missing, as in "Max retries exceeded with url: /clip.mp4?Signature=…".
_BARE_QUERY = re.compile(r"\?[^\s\"<>]+")

_BEARER = re.compile(r"(Bearer\s+)(sk-)?[^\s\"'<>]+")

# Not within a word such as "task-based"; but after an escape, which may end in a letter: "%3Dsk-…", "\nsk-…".
_API_KEY = re.compile(
    r"sk-(?:(?<![A-Za-z0-9]sk-)|(?<=%[0-9A-Fa-f]{2}sk-)|(?<=\\[bfnrt]sk-)|(?<=\\u[0-9A-Fa-f]{4}sk-))[A-Za-z0-9_-]{4,}"
)

# A prompt may begin with "data:" too; a type or an encoding must follow.
_DATA_URI = re.compile(r"data:(?=[\w;])(?P<type>[\w.+-]+/[\w.+-]+)?(?P<options>;[^,\s]*)?,", re.IGNORECASE)


# What msgpack, JSON and PostgreSQL cannot hold, what moves the cursor of a terminal, and what reorders a line: half a
# character, control characters other than a tab and a line feed, separators of lines, and changes of the direction.
_UNFIT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]+")


def clean_text(text: str) -> str:
    """Return a text in which ``�`` stands for halves of characters and for control characters.

    :param text: a text of a stranger. Tabs and line breaks stay; the line breaks of Windows become those of Unix.
    """
    return _UNFIT.sub("�", text.replace("\r\n", "\n"))


def redact(text: str) -> str:
    """Return a clean text without secrets, with ``…`` where a query, a fragment or a key was.

    :param text: a message or log line; URLs and keys may stand anywhere in it.
    """
    return _scrubbed(text, mark="?…")


def redact_beginning(text: str, max_chars: int) -> str:
    """Return the beginning of a text of any length, without secrets and in one line: a second could look like a log's.

    A cut in the middle of a URL or key would hide that it is one, so the word that is cut is left out.

    :param text: a message of a stranger.
    :param max_chars: length of the result at most, in characters.
    """
    head = text[: 20 * max_chars]
    if len(head) < len(text):
        head = head.rpartition(" ")[0] or head.partition("://")[0].partition("sk-")[0]
    return redact(head)[:max_chars].replace("\n", " ")


def shareable(value: Any) -> Any:
    """Return JSON in a form that may be shown to anyone.

    URLs lose their query, fragment, user and password; the connection id and the key of an object store URI
    (``s3://id@bucket/a?.png``) stay. Keys are hidden. A data URI becomes ``data:image/png;sha256=…``. Texts are clean.
    NaN, an integer of more than 64 bits, and what is nested deeper than `MAX_DEPTH` become None: JSON, msgpack or a
    database cannot hold them.

    :param value: JSON of any shape, such as a request's body. It is not changed.
    """
    return _map_leaves(value, _shareable_leaf, depth=MAX_DEPTH)


def identity(value: Any) -> Any:
    """Return JSON in which a web address is what identifies its file: requests for the same files are then equal.

    :param value: JSON of any shape, such as a request's body. It is not changed.
    """
    return _map_leaves(value, lambda leaf: file_identity(leaf) if isinstance(leaf, str) else leaf)


def secrets_in(value: Any) -> Iterator[str]:
    """Yield the secrets in JSON: queries of web addresses, passwords in URLs, and API keys.

    Within a longer text, such as a prompt, only a query that holds a signature is one.

    :param value: JSON of any shape, such as a task's rendered fields.
    """
    for text in _texts(value):
        for url in _USER_INFO.finditer(text):
            if _is_secret(url):
                yield url["user"].partition(":")[2] or url["user"]
        plain = _without_users(text)
        for url in _URL.finditer(plain):
            address, _, query = _cut_query(url)
            is_whole_text = is_web_url(plain) and plain[: url.start()].isalpha()
            if is_signed(query) or (is_whole_text and len(query) >= _SHORTEST_MASKED):
                yield query
            yield from signed_segments(address)
        for key in _API_KEY.finditer(text):
            yield key[0]


class KeyMask:
    """Hides secrets wherever a text holds them: as it is, or encoded for a URL, for JSON, for HTML or in base64.

    A stranger may cut a text anywhere, so the beginning of the secret is hidden, too, with the rest of its word.

    :param secrets: the secrets. One of fewer than 8 characters is not hidden: it may stand in any text by chance.
    """

    __slots__ = ("_beginnings", "_forms")

    def __init__(self, *secrets: str) -> None:
        forms = {form for secret in secrets if len(secret) >= _SHORTEST_SECRET for form in _forms_of(secret)}
        self._forms = sorted(forms, key=len, reverse=True)
        beginnings = {form[:_SHORTEST_SECRET] for form in forms}
        self._beginnings = [(each, re.compile(re.escape(each) + r"[^\s\"'<>&,;]*")) for each in sorted(beginnings)]

    def hide(self, text: str) -> str:
        """Return the text with ``***`` where the secret was.

        :param text: any text.
        """
        if not any(beginning in text for beginning, _ in self._beginnings):
            return text
        for form in self._forms:
            text = text.replace(form, "***")
        for beginning, word in self._beginnings:
            if beginning in text:
                text = word.sub("***", text)
        return text


_SHORTEST_MASKED = 5
"""Length of the shortest text that Airflow masks, in characters."""

_SHORTEST_SECRET = 8
"""Length of the shortest secret that is hidden, and of the shortest beginning of one, in characters."""


def _forms_of(secret: str) -> Iterator[str]:
    """Yield the secret, and what becomes of it when it is encoded."""
    raw = secret.encode(errors="replace")
    yield secret
    yield quote(secret, safe="", errors="replace")
    yield "".join(f"%{byte:02X}" for byte in raw)
    yield "".join(f"%{byte:02x}" for byte in raw)
    yield "".join(f"\\u{ord(character):04x}" for character in secret)
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret)[1:-1].replace("/", "\\/")
    yield repr(secret)[1:-1]
    yield html.escape(secret)
    yield raw.hex()
    yield raw.hex().upper()
    for before in range(3):  # base64 takes three bytes at a time, and the secret may begin at any of them
        inner = slice(-(-before * 8 // 6), (before + len(raw)) * 8 // 6)
        yield base64.b64encode(bytes(before) + raw).decode()[inner]
        yield base64.urlsafe_b64encode(bytes(before) + raw).decode()[inner]


# --------------------------------------------------------------------------------------------------------------------
# Texts


def _scrubbed(text: str, *, mark: str) -> str:
    def without_query(url: re.Match[str]) -> str:
        address, start, _ = _cut_query(url)
        if signed := signed_segments(address):
            address = "/".join("…" if segment in signed else segment for segment in address.split("/"))
        return address + mark if start else address

    def without_signed_query(query: re.Match[str]) -> str:
        return mark if is_signed(query[0][1:]) else query[0]

    text = _URL.sub(without_query, _without_users(clean_text(text)))
    text = _BARE_QUERY.sub(without_signed_query, text)
    return _API_KEY.sub("sk-…", _BEARER.sub(r"\1\2…", text))


def _without_users(text: str) -> str:
    return _USER_INFO.sub(lambda url: url["separator"] if _is_secret(url) else url[0], text)


def _is_secret(user_info: re.Match[str]) -> bool:
    """Whether this is a user, a password or a token, and not the id of an Airflow connection (``s3://id@bucket``)."""
    start = user_info.start()
    scheme = user_info.string[max(0, start - len("https")) : start].lower()
    return scheme.endswith(("http", "https")) or _COLON.search(user_info["user"]) is not None


def _cut_query(url: re.Match[str]) -> tuple[str, str, str]:
    """Return the address, the character that starts the query or fragment ("" if there is none), and the rest.

    The key of an object is not cut, unless something in it signs.
    """
    text = url[0]
    start = _QUERY_START.search(text)
    if start is None:
        return text, "", ""
    scheme = _SCHEME.search(url["quote"] or url.string[max(0, url.start() - _LONGEST_SCHEME) : url.start()])
    rest = text[start.end() :]
    if scheme and scheme[1].lower() in _STORES and "//" not in rest and not has_signing_name(rest):
        return text, "", ""
    return text[: start.start()], start[0], rest


# --------------------------------------------------------------------------------------------------------------------
# JSON


def _map_leaves(value: Any, change: Callable[[Any], Any], depth: int = sys.maxsize) -> Any:
    """Return JSON with each name and each value that is no container changed; None for what is nested deeper."""
    is_mapping = isinstance(value, Mapping)
    if not is_mapping and (not isinstance(value, Sequence) or isinstance(value, (str, bytes))):
        return change(value)
    if not depth:
        return None
    if is_mapping:
        return {change(name): _map_leaves(inner, change, depth - 1) for name, inner in value.items()}
    return [_map_leaves(inner, change, depth - 1) for inner in value]


def _texts(value: Any) -> Iterator[str]:
    """Yield each text in JSON, names among them."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from _texts(list(value.items()))
    elif isinstance(value, Sequence) and not isinstance(value, bytes):
        for inner in value:
            yield from _texts(inner)


def _shareable_leaf(leaf: Any) -> Any:
    if isinstance(leaf, float) and not math.isfinite(leaf):
        return None  # Python reads NaN in an answer, and JSON has no such thing
    if isinstance(leaf, int) and not -(2**63) <= leaf < 2**64:
        return None
    if not isinstance(leaf, str):
        return leaf
    return _scrubbed(_digested(leaf.encode(errors="replace").decode()), mark="")


def _digested(text: str) -> str:
    """Return a data URI as its type and its content's digest; any other text as it is."""
    data_uri = _DATA_URI.match(text)
    if data_uri is None:
        return text
    content = unquote_to_bytes(text[data_uri.end() :])
    if (data_uri["options"] or "").lower().endswith(";base64"):
        with contextlib.suppress(ValueError):  # what is no base64 is digested as it stands
            content = base64.b64decode(content)
    return f"data:{data_uri['type'] or 'text/plain'};sha256={hashlib.sha256(content).hexdigest()}"
