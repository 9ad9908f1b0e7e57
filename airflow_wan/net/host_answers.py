"""Read the parts of an HTTP answer that the gateways, the upload store and the file hosts have in common."""

from __future__ import annotations

import math
import re
import time
from datetime import UTC
from email.utils import parsedate_to_datetime

LONGEST_RETRY_AFTER_S = 86_400.0
"""Longest time that a ``Retry-After`` header is read as, in seconds."""

LONGEST_OBEYED_S = 600.0
"""Longest ``Retry-After`` that is obeyed, in seconds: a longer one is more likely a mistake than a wish."""

_MAX_DATE_CHARS = 100

_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-\d{1,19}/(\d{1,19})", re.ASCII)
_STRONG_ETAG = re.compile(r'"([\x21\x23-\x7e]{1,200})"')


def retry_after(value: str | None) -> float | None:
    """Return the seconds to wait that a ``Retry-After`` header gives, as a number or as a date.

    :returns: at most `LONGEST_RETRY_AFTER_S`; None when there is no header, or its value cannot be read.
    """
    if not value or len(value) > _MAX_DATE_CHARS:
        return None
    try:
        seconds = float(value)
    except ValueError:
        seconds = seconds_until(value)
    return None if math.isnan(seconds) else min(max(0.0, seconds), LONGEST_RETRY_AFTER_S)


def seconds_until(date: str) -> float:
    """Return the seconds until a date of HTTP, less than 0 if it is past; NaN if the text is none."""
    if len(date) > _MAX_DATE_CHARS:
        return math.nan
    try:
        moment = parsedate_to_datetime(date)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - time.time()
    except (ValueError, OverflowError):
        return math.nan


def whole_number(value: str | None) -> int | None:
    """Return the number in a header such as ``Content-Length``.

    :returns: None for anything else, and for a number with more digits than any file size or CRC-64 has.
    """
    return int(value) if value and re.fullmatch(r"\d{1,20}", value, re.ASCII) else None


def content_range(value: str | None) -> tuple[int, int] | None:
    """Return the start of a part and the size of the whole file, in bytes, from a ``Content-Range`` header.

    :returns: None when there is no header, or it does not give both.
    """
    parts = _CONTENT_RANGE.fullmatch((value or "").strip())
    return (int(parts[1]), int(parts[2])) if parts else None


def strong_etag(value: str | None) -> str | None:
    """Return the value of an ``ETag`` header that identifies one exact content, without its quotes (RFC 9110, 8.8.3).

    :returns: None when there is no header, for a weak ETag, and for anything that is none: it goes into records.
    """
    found = _STRONG_ETAG.fullmatch(value or "")
    return found[1] if found else None


def oss_error_code(content: bytes) -> str | None:
    """Return the code in an XML answer of Alibaba's OSS (``<Code>SignatureDoesNotMatch</Code>``), or None.

    Only the code may be shown: the rest of such an answer may hold the key's id and the text that was signed. A code is
    of letters alone, so that no signature passes for one.
    """
    code = content.decode("utf-8", "replace").partition("<Code>")[2].partition("</Code>")[0].strip()
    return code if re.fullmatch(r"[A-Za-z]{1,60}", code) else None
