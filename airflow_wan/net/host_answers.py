"""What a host says beside its content, read the same way by the protocol and the download."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


def retry_after(value: str | None) -> float | None:
    """Seconds to wait, given as seconds or as a date; None when there is no header, or none that can be read."""
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def oss_error_code(content: bytes) -> str | None:
    """The code in an XML answer of Alibaba's OSS (``<Code>SignatureDoesNotMatch</Code>``), or None.

    The rest of such an answer is not to be shown: it may hold the key's id and what was signed.
    """
    code = content.decode("utf-8", "replace").partition("<Code>")[2].partition("</Code>")[0].strip()
    return code if code.isalnum() else None
