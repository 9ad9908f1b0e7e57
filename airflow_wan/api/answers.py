"""A gateway's HTTP answer, as far as the rest of the protocol needs to know it.

Whatever a gateway sends is cleaned here, once and as a whole: nothing behind this module can meet half a character, a
control character, a number that JSON or a database cannot hold, or the account's own key.
"""

from __future__ import annotations

import json
import math
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from airflow_wan.exceptions import MAX_CODE_CHARS, MAX_ID_CHARS
from airflow_wan.redaction import clean_text, redact_beginning

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_wan.redaction import KeyMask

MAX_ANSWER_BYTES = 512 * 1024
"""Longest answer that is read, in bytes.

The longest prompt that any model takes has 20,000 characters. An answer may hold it twice, as submitted and as the
gateway rewrote it, and JSON may write each character as 12 bytes (an emoji). Usual answers have 1 to 2 kB.
"""

MAX_SEPARATORS = 60_000
"""Most commas and opening brackets in the text of an answer, which bound the time that it takes to parse it."""

MAX_VALUES = 10_000
"""Most values in an answer. A task has about 30; a page of a list has about 15 for each row."""

MAX_DEPTH = 16
"""Deepest value that is kept: what is nested deeper becomes None. The deepest that is read is at 5."""

_HEADERS = ("content-type", "content-encoding", "date", "retry-after", "x-request-id", "x-shellapi-request-id")
_MAX_HEADER_CHARS = 200
_MAX_TEXT_BYTES = 4096
_MAX_INTEGER_CHARS = len(str(-(2**63)))

# The first bytes of gzip, and of zlib's usual settings, which "deflate" stands for.
_COMPRESSED = (b"\x1f\x8b", b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")

# The field in JSON that is cut off, in JSON that is written as a text of JSON, or in what Python prints of a dict.
_NAMED_TASK = re.compile(rf"""\\?["']task_id\\?["']\s{{0,9}}:\s{{0,9}}\\?["']([^"'\\\s]{{1,{MAX_ID_CHARS}}})\\?["']""")


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer, without anything of the HTTP library.

    :param http_status: its status code.
    :param headers: those of its headers that are read, with names in lower case.
    :param payload: its body as JSON; None if the body is not JSON.
    :param text: the beginning of its body as text.
    :param unreadable: why its body was not read, as the end of a sentence; empty if it was read.
    :param named_ids: the different ids of tasks that a body names which is no object of JSON, or is not read.
    """

    http_status: int
    headers: Mapping[str, str]
    payload: object = field(repr=False)
    text: str = field(repr=False)
    unreadable: str = ""
    named_ids: tuple[str, ...] = ()

    @classmethod
    def read(cls, http_status: int, headers: Iterable[tuple[bytes, bytes]], content: bytes, key_mask: KeyMask) -> Self:
        """Return a clean answer.

        :param http_status: its status code.
        :param headers: all of its headers.
        :param content: its body as it was sent. Uncompressed answers in UTF-8 are asked for, but whatever can be read
            is read: an answer to a create may hold the only copy of the id of a paid task.
        :param key_mask: hides the account's key.
        """
        known = {name: value for raw, value in headers if (name := raw.decode("latin-1").lower()) in _HEADERS}
        shown = {name: key_mask.hide(clean_text(_decode(value))) for name, value in known.items()}
        content = _decompress(content)
        whole = _decode_body(content[:MAX_ANSWER_BYTES])
        text = key_mask.hide(clean_text(whole[:_MAX_TEXT_BYTES]))
        try:
            payload, unreadable = _parse(content, whole, key_mask), ""
        except _UnreadableError as error:
            payload, unreadable = None, str(error)
        named = (
            ()
            if isinstance(payload, (dict, list))
            else tuple(key_mask.hide(clean_text(one)) for one in _named_ids(whole))
        )
        encoding = shown.get("content-encoding", "identity").strip().lower()
        # APIYI may label an uncompressed answer as gzip.
        if payload is None and not unreadable and content and encoding not in ("", "identity"):
            text, unreadable = "", "it is compressed"
        shown = {name: value[:_MAX_HEADER_CHARS] for name, value in shown.items()}
        return cls(http_status, shown, payload, text, unreadable, named)

    @property
    def body(self) -> Mapping[str, Any]:
        """The JSON object; an empty one if the body is something else."""
        return self.payload if isinstance(self.payload, Mapping) else {}

    @property
    def task_ids(self) -> tuple[str, ...]:
        """The different ids of tasks that the body names anywhere, whether it was read or not."""
        return tuple(dict.fromkeys(task_ids_in(self.payload))) or self.named_ids

    @property
    def ok(self) -> bool:
        """Whether the status code says success."""
        return 200 <= self.http_status < 300  # noqa: PLR2004

    @property
    def request_id(self) -> str | None:
        """The id that the gateway's support needs to find the request: APIYI's own id, else the upstream's."""
        own, upstream = self.headers.get("x-shellapi-request-id"), self.headers.get("x-request-id")
        found = own or text_of(self.body.get("request_id")) or upstream
        return redact_beginning(found, MAX_CODE_CHARS) if found else None


def text_of(value: object) -> str | None:
    """Return a string that is not blank, or a number as text; None for anything else."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, (str, int, float)):
        return str(value).strip() or None
    return None


def task_id_of(fields: Mapping[str, Any]) -> str | None:
    """Return the id of a task that a JSON object names, usable or not; None if it names none."""
    named = fields.get("task_id")
    return text_of(named) if isinstance(named, (str, int)) else None


def task_ids_in(payload: object) -> Iterator[str]:
    """Yield each id of a task that an answer's JSON names, wherever it stands."""
    if isinstance(payload, list):
        for inner in payload:
            yield from task_ids_in(inner)
    elif isinstance(payload, dict):
        named = task_id_of(payload)
        if named is not None:
            yield named
        for inner in payload.values():
            yield from task_ids_in(inner)


def is_task_id(text: str) -> bool:
    """Return whether a text can be the id of a Wan task: short, printable, without spaces and without a hidden key."""
    return (
        0 < len(text) <= MAX_ID_CHARS
        and text.isprintable()
        and not any(unfit in text for unfit in (" ", "\ufffd", "***"))
        and text not in (".", "..")
    )


class _UnreadableError(ValueError):
    """The body is not read; the message completes "the answer cannot be read: …"."""


def _decode(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def _decode_body(raw: bytes) -> str:
    """Return a body as text: in UTF-8, UTF-16 or UTF-32, with a byte order mark or without, as JSON may be written."""
    return raw.decode(json.detect_encoding(raw), "replace").removeprefix("\ufeff")


def _decompress(content: bytes) -> bytes:
    """Return a body that is compressed as gzip or zlib as it was, or its beginning; any other body as it is.

    Its label is not asked: a gateway may label a plain answer as compressed, and a compressed one not at all.
    """
    if not content.startswith(_COMPRESSED):
        return content
    try:
        # 32: gzip or zlib, by its first bytes. A body that is cut off gives what came before the cut.
        return zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(content, MAX_ANSWER_BYTES + 1)
    except zlib.error:
        return content


def _named_ids(text: str) -> Iterator[str]:
    """Yield each different id that a text names as a field ``"task_id"`` of JSON would."""
    yield from dict.fromkeys(found[1] for found in _NAMED_TASK.finditer(text))


def _json_in(text: str) -> object:
    """Return the JSON that a text is or ends with: a proxy or PHP may write a warning before it.

    :raises ValueError: when there is none.
    """
    try:
        return json.loads(text, parse_int=_short_integer)
    except ValueError:
        begin = text.find("{")
        if begin < 1 or clean_text(text[:begin]) != text[:begin].replace("\r\n", "\n") or "\ufffd" in text[:begin]:
            raise  # no text stands before it
    return json.loads(text[begin:], parse_int=_short_integer)


def _parse(content: bytes, text: str, key_mask: KeyMask) -> object:
    """Return a body as clean JSON; None if it is not JSON."""
    if len(content) > MAX_ANSWER_BYTES:
        raise _UnreadableError(f"it has more than {MAX_ANSWER_BYTES} bytes")
    if sum(map(text.count, ",[{")) > MAX_SEPARATORS:
        raise _UnreadableError("it has too many values")
    try:
        return _Cleaning(key_mask).clean(_json_in(text))
    except RecursionError:
        raise _UnreadableError("it is nested too deeply") from None
    except _UnreadableError:
        raise
    except ValueError:
        return None


def _short_integer(digits: str) -> int | None:
    """Return an integer; None for one that no database holds. To read one of many digits takes long."""
    number = int(digits) if len(digits) <= _MAX_INTEGER_CHARS else 2**63
    return number if -(2**63) <= number < 2**63 else None


class _Cleaning:
    """Cleans the values of one answer, and counts them."""

    def __init__(self, key_mask: KeyMask) -> None:
        self._key_mask = key_mask
        self._values = 0

    def clean(self, value: Any, depth: int = 0) -> Any:
        self._values += 1
        if self._values > MAX_VALUES:
            raise _UnreadableError("it has too many values")
        if isinstance(value, str):
            return self._clean_text(value)
        if isinstance(value, float):
            return value if math.isfinite(value) else None
        if not isinstance(value, (dict, list)):
            return value
        if depth == MAX_DEPTH:
            return None
        if isinstance(value, list):
            return [self.clean(inner, depth + 1) for inner in value]
        return {self._clean_text(name): self.clean(inner, depth + 1) for name, inner in value.items()}

    def _clean_text(self, text: str) -> str:
        return self._key_mask.hide(clean_text(text))
