"""Headers and error pages of hosts, which may hold anything."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_wan.net.host_answers import content_range, oss_error_code, retry_after, strong_etag, whole_number


@given(text=st.text(max_size=60) | st.from_regex(r"\w{3}, \d{1,9} \w{3} \d{1,6} [\d:]{1,12} [+-]?\w{1,9}"))
def test_any_header_is_read_or_left(text: str) -> None:
    for read in (retry_after, whole_number, content_range, strong_etag):
        read(text)
    oss_error_code(f"<Code>{text}</Code>".encode(errors="replace"))


@pytest.mark.parametrize("value", ["Mon, 01 Jan 0001 00:00:00 +2359", "Fri, 31 Dec 9999 23:59:59 -2359", "9" * 60_000])
def test_a_pause_at_the_ends_of_time_is_no_error(value: str) -> None:
    assert (retry_after(value) or 0) >= 0


def test_a_pause_is_a_number_or_a_date() -> None:
    soon = datetime.now(UTC) + timedelta(seconds=100)

    assert retry_after("7") == 7
    assert retry_after("nan") is None
    assert retry_after(format_datetime(soon)) == pytest.approx(100, abs=20)
    assert retry_after("tomorrow") is None


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ('"abc"', "abc"),
        ('"5B3C1A2E863953002F3A-1"', "5B3C1A2E863953002F3A-1"),
        *((weak, None) for weak in (None, "", 'W/"abc"', "abc", '""', '"a"b"', '"a\x00"', '"\x1b[31m"', '"\xe9"')),
        ('"' + "a" * 201 + '"', None),
        ('"abc"\n', None),
    ],
)
def test_only_a_plain_strong_etag_identifies_a_content(value: str | None, found: str | None) -> None:
    assert strong_etag(value) == found


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("AccessDenied", "AccessDenied"),
        ("a b", None),
        ("\u540d", None),
        ("a" * 61, None),
        ("dGhlIHNpZ25hdHVyZQ1", None),
        ("", None),
        ("<x>", None),
    ],
)
def test_only_a_plain_code_is_shown(code: str, found: str | None) -> None:
    assert oss_error_code(f"<Error><Code>{code}</Code></Error>".encode()) == found
