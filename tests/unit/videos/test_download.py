from __future__ import annotations

import base64
import hashlib
import itertools
import logging
import socket
import time
import urllib.request
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from fastcrc import crc64
from hypothesis import given
from hypothesis import strategies as st

from airflow_wan.api.client import WanClient, tls_context
from airflow_wan.api.gateways import APIYI, Account
from airflow_wan.api.requests import build_video_request
from airflow_wan.exceptions import TransferFailed
from airflow_wan.media.mp4 import inspect_video
from airflow_wan.net.deadline import Pace
from airflow_wan.net.file_client import MAX_REDIRECTS, FileClient
from airflow_wan.videos import download as module
from airflow_wan.videos.download import (
    MAX_ATTEMPTS,
    MAX_ATTEMPTS_WITHOUT_PROGRESS,
    READ_BYTES,
    DownloadedFile,
    download,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from http.server import BaseHTTPRequestHandler

    from conftest import FileHost, Proxy, Tls

    from airflow_wan.emulator.testing import MediaServer, RunningEmulator

API_KEY = "sk-files-0123456789"
CONTENT = bytes(range(256)) * 5000  # more than one chunk
ETAG = {"ETag": '"D41D8CD9"'}
CRC64 = str(crc64.xz(CONTENT))


def md5(content: bytes) -> str:
    """The value of a Content-MD5 header."""
    return base64.b64encode(hashlib.md5(content).digest()).decode()


MD5 = md5(CONTENT)

OSS_REFUSAL = b"""<?xml version="1.0" encoding="UTF-8"?>
<Error>
  <Code>SignatureDoesNotMatch</Code>
  <Message>The request signature we calculated does not match the signature you provided: TOPSECRET</Message>
  <OSSAccessKeyId>LTAIxyz</OSSAccessKeyId>
</Error>"""


pytestmark = pytest.mark.usefixtures("no_pauses")


class Links:
    """Signed URLs: each call returns the next one, and the last one from then on."""

    def __init__(self, *urls: str) -> None:
        self.urls = urls
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        return self.urls[min(self.calls, len(self.urls)) - 1]


def fetch(url: str | Links, path: Path, *, private_allowed: bool = True, **options: Any) -> DownloadedFile:
    fresh_url = url if isinstance(url, Links) else Links(url)
    return download(fresh_url, path, tls=tls_context(), private_allowed=private_allowed, **options)


def failure(url: str | Links, path: Path, **options: Any) -> TransferFailed:
    """The error of a download that fails, after a check that it does not show the signature."""
    with pytest.raises(TransferFailed) as caught:
        fetch(url, path, **options)
    error = caught.value
    told = f"{error} {error!r} {error.args}"
    assert "TOPSECRET" not in told
    assert "?" not in told
    assert error.__suppress_context__ or error.__context__ is None
    return error


# A file that arrives -------------------------------------------------------------------------------------------------


def test_a_whole_file_is_written_with_its_size_and_digest(host: FileHost, tmp_path: Path) -> None:
    assert len(CONTENT) > READ_BYTES
    host.serves("/x.mp4", 200, CONTENT, Content_Type="video/mp4")

    file = fetch(host.url("/x.mp4"), tmp_path / "x.part")

    digest = hashlib.sha256(CONTENT).hexdigest()
    assert file == DownloadedFile(tmp_path / "x.part", len(CONTENT), digest, attempts=1, checks=("length",))
    assert file.path.read_bytes() == CONTENT


def test_the_request_is_a_plain_get_of_the_signed_url(host: FileHost, tmp_path: Path) -> None:
    host.serves("/x.mp4", 200, b"film")

    fetch(host.url("/x.mp4"), tmp_path / "x")

    ((path, headers),) = host.requests
    assert path == "/x.mp4?Expires=1&OSSAccessKeyId=LTAIxyz&Signature=TOPSECRET"
    assert headers["accept-encoding"] == "identity"
    assert set(headers) <= {"host", "accept", "accept-encoding", "connection", "user-agent"}


def test_no_log_line_shows_the_signature(host: FileHost, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    host.redirects("/x.mp4", "/y.mp4?Signature=TOPSECRET")
    host.serves("/busy", 503, b"")
    host.keeps("/breaks", CONTENT, ETAG, breaks=[1000])
    host.in_turn("/y.mp4", "/busy", "/breaks")

    with caplog.at_level(logging.DEBUG):
        fetch(host.url("/x.mp4"), tmp_path / "x.part")

    assert "HTTP 503. 0 bytes have arrived. Attempt 2 follows in" in caplog.text
    assert "(ConnectionResetError). 1,000 of 1,280,000 bytes have arrived. Attempt 3 follows in" in caplog.text
    assert (
        "Downloaded 1,280,000 bytes in 3 attempts; compared with the values in the host's headers: length."
        in caplog.text
    )
    assert "TOPSECRET" not in caplog.text


def test_an_existing_longer_file_is_overwritten(host: FileHost, tmp_path: Path) -> None:
    host.serves("/x.mp4", 200, b"film")
    (tmp_path / "x").write_bytes(b"older and longer")

    fetch(host.url("/x.mp4"), tmp_path / "x")

    assert (tmp_path / "x").read_bytes() == b"film"


def test_a_file_of_unknown_length_is_downloaded(host: FileHost, tmp_path: Path) -> None:
    host.serves("/x.mp4", 200, CONTENT, announced=-1)

    assert fetch(host.url("/x.mp4"), tmp_path / "x").bytes == len(CONTENT)


def test_bytes_are_kept_as_sent_whatever_encoding_the_host_names(host: FileHost, tmp_path: Path) -> None:
    host.serves("/x.mp4", 200, b"film", Content_Encoding="gzip")

    assert fetch(host.url("/x.mp4"), tmp_path / "x").path.read_bytes() == b"film"


@dataclass(frozen=True)
class Ready:
    """A task that has succeeded at an emulator."""

    client: WanClient
    wan_task_id: str

    def url(self) -> str:
        return str(self.client.get_task(self.wan_task_id).video_url)


@pytest.fixture
def ready(wan_emulator: RunningEmulator, media: MediaServer) -> Iterator[Ready]:
    account = Account(APIYI, wan_emulator.base_url, API_KEY, read_timeout=20.0)
    request = build_video_request(
        gateway=APIYI,
        base_url=account.base_url,
        model="wan2.7-i2v",
        prompt="a kite",
        media=[{"type": "first_frame", "url": media.url("frame.png")}],
        parameters={"duration": 2},
    )
    with WanClient(account) as client:
        task = client.create(request)
        give_up = time.monotonic() + 30
        while task.video_url is None:
            assert time.monotonic() < give_up
            time.sleep(0.05)
            task = client.get_task(task.wan_task_id)
        yield Ready(client, task.wan_task_id)


def test_a_video_of_the_emulator_arrives_and_the_api_key_is_not_sent(ready: Ready, tmp_path: Path) -> None:
    url = ready.url()

    file = fetch(url, tmp_path / "x.mp4")

    assert file.checks == ("length", "crc64")
    facts = inspect_video(file.path)
    assert facts.duration_s == pytest.approx(2, abs=0.1)
    assert facts.has_audio
    with_key = urllib.request.Request(url, headers={"Authorization": f"Bearer {API_KEY}"})
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(with_key)
    assert b"SignatureDoesNotMatch" in refused.value.read()


@pytest.mark.parametrize(
    "faults",
    [
        [{"kind": "reset", "at_bytes": 1000, "times": 10}],
        [{"kind": "truncated"}, {"kind": "expired"}],
        [{"kind": "truncated"}, {"kind": "changed"}],
        [{"kind": "reset"}, {"kind": "no_validators"}],
        [{"kind": "corrupt"}, {"kind": "truncated"}],
        [{"kind": "truncated"}, {"kind": "corrupt"}],
        [{"kind": "wrong_length"}],
        [{"kind": "wrong_length", "off_by": -7}],
        [{"kind": kind} for kind in ("empty", "html", "unavailable")],
    ],
    ids=str,
)
def test_a_video_arrives_despite_faults_and_the_task_is_read_only_when_needed(
    faults: list[dict[str, Any]], ready: Ready, wan_emulator: RunningEmulator, tmp_path: Path
) -> None:
    links = Links(*(ready.url() for _ in range(3)))
    for number, fault in enumerate(faults):
        wan_emulator.add_fault("download", after=number, **fault)

    file = fetch(links, tmp_path / "x.mp4")

    assert inspect_video(file.path).has_audio
    content = file.path.read_bytes().removesuffix(b"\0\0\0\x08free")
    assert content == urllib.request.urlopen(ready.url()).read()
    assert links.calls == 1 + sum(fault["kind"] == "expired" for fault in faults)


# A connection that breaks --------------------------------------------------------------------------------------------


def asked(host: FileHost) -> list[str | None]:
    """The Range header of each request."""
    return [headers.get("range") for _, headers in host.requests]


def test_a_broken_download_is_resumed_where_it_broke(host: FileHost, tmp_path: Path) -> None:
    host.keeps("/x.mp4", CONTENT, ETAG | {"x-oss-hash-crc64ecma": CRC64}, breaks=[300_001])

    file = fetch(host.url("/x.mp4"), tmp_path / "x")

    assert file.path.read_bytes() == CONTENT
    assert (file.sha256, file.attempts) == (hashlib.sha256(CONTENT).hexdigest(), 2)
    assert file.checks == ("length", "crc64")
    assert asked(host) == [None, "bytes=300001-"]
    assert host.requests[1][1]["if-range"] == ETAG["ETag"]
    assert host.body_bytes == len(CONTENT)


def test_ten_breaks_fetch_no_byte_twice(host: FileHost, tmp_path: Path) -> None:
    breaks = [100_000, 1, 60_000, 8192, 250_000, 0, 99_999, 12, 100_000, 100_000]
    host.keeps("/x.mp4", CONTENT, ETAG, breaks=breaks)
    links = Links(host.url("/x.mp4"))

    file = fetch(links, tmp_path / "x")

    assert file.path.read_bytes() == CONTENT
    assert (file.attempts, len(host.requests), links.calls) == (11, 11, 1)
    assert host.body_bytes <= 1.05 * len(CONTENT)


def test_the_digests_of_a_large_file_are_right_after_ten_breaks(host: FileHost, tmp_path: Path) -> None:
    content = CONTENT * 24
    told = {"x-oss-hash-crc64ecma": str(crc64.xz(content))}
    host.keeps("/x.mp4", content, ETAG | told, breaks=[len(content) // 12] * 10)

    file = fetch(host.url("/x.mp4"), tmp_path / "x")

    assert file.checks == ("length", "crc64")
    assert (file.sha256, file.attempts) == (hashlib.sha256(content).hexdigest(), 11)
    assert host.body_bytes == len(content)


@pytest.mark.parametrize("etag", [{}, {"ETag": 'W/"weak"'}])
def test_without_a_strong_etag_the_date_is_the_validator(etag: dict[str, str], host: FileHost, tmp_path: Path) -> None:
    told = {"Last-Modified": "Sun, 22 Nov 2026 00:00:00 GMT"}
    host.keeps("/x.mp4", CONTENT, etag | told, breaks=[1000])

    assert fetch(host.url("/x.mp4"), tmp_path / "x").path.read_bytes() == CONTENT
    assert asked(host) == [None, "bytes=1000-"]
    assert host.requests[1][1]["if-range"] == told["Last-Modified"]


@pytest.mark.parametrize("told", [{}, {"ETag": 'W/"weak"'}, {"ETag": "unquoted"}])
def test_without_a_validator_the_whole_file_is_fetched_again(
    told: dict[str, str], host: FileHost, tmp_path: Path
) -> None:
    host.keeps("/x.mp4", CONTENT, told, breaks=[1000])

    file = fetch(host.url("/x.mp4"), tmp_path / "x")

    assert file.path.read_bytes() == CONTENT
    assert file.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert asked(host) == [None, None]


def test_a_file_that_changed_meanwhile_is_fetched_again(host: FileHost, tmp_path: Path) -> None:
    other = CONTENT[::-1][:-7]
    host.keeps("/old", CONTENT, ETAG | {"x-oss-hash-crc64ecma": CRC64}, breaks=[1000])
    host.keeps("/new", other, {"ETag": '"OTHER"'})
    host.in_turn("/x.mp4", "/old", "/new")

    file = fetch(host.url("/x.mp4"), tmp_path / "x")

    assert file.path.read_bytes() == other
    assert file.sha256 == hashlib.sha256(other).hexdigest()
    assert file.checks == ("length",)


def test_a_host_that_ignores_range_sends_the_whole_file_again(host: FileHost, tmp_path: Path) -> None:
    host.breaks_off("/broken", CONTENT[:1000], len(CONTENT), ETag=ETAG["ETag"])
    host.serves("/whole", 200, CONTENT, ETag=ETAG["ETag"])
    host.in_turn("/x.mp4", "/broken", "/whole")

    assert fetch(host.url("/x.mp4"), tmp_path / "x").path.read_bytes() == CONTENT
    assert asked(host) == [None, "bytes=1000-"]


def breaks_in_a_chunk(handler: BaseHTTPRequestHandler) -> None:
    """Send 1,500 bytes of a file of unknown length."""
    handler.send_response(200)
    handler.send_header("ETag", ETAG["ETag"])
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(b"3e8\r\n" + CONTENT[:1000] + b"\r\n3e8\r\n" + CONTENT[1000:1500])


def test_a_file_of_unknown_length_is_resumed_too(host: FileHost, tmp_path: Path) -> None:
    host.answers["/broken"] = breaks_in_a_chunk
    host.keeps("/rest", CONTENT, ETAG)
    host.in_turn("/x.mp4", "/broken", "/rest")

    file = fetch(host.url("/x.mp4"), tmp_path / "x")

    assert file.path.read_bytes() == CONTENT
    assert file.checks == ("length",)
    assert asked(host) == [None, "bytes=1500-"]


SIZE = len(CONTENT)


@pytest.mark.parametrize(
    "content_range",
    [
        None,
        "",
        "bytes",
        f"bytes 999-{SIZE - 1}/{SIZE}",
        f"bytes 0-{SIZE - 1}/{SIZE}",
        f"bytes 1000-{SIZE}/{SIZE + 1}",
        f"bytes 1000-{SIZE - 1}/*",
        f"bytes */{SIZE}",
        f"items 1000-{SIZE - 1}/{SIZE}",
        f"bytes {'9' * 5000}-{SIZE - 1}/{SIZE}",
    ],
)
def test_another_part_than_the_one_asked_for_is_refused(
    content_range: str | None, host: FileHost, tmp_path: Path
) -> None:
    host.breaks_off("/broken", CONTENT[:1000], SIZE, ETag=ETAG["ETag"])
    told = {} if content_range is None else {"Content-Range": content_range}
    host.serves("/part", 206, CONTENT[1000:][::-1], **told)
    host.serves("/whole", 200, CONTENT)
    host.in_turn("/x.mp4", "/broken", "/part", "/whole")

    assert fetch(host.url("/x.mp4"), tmp_path / "x").path.read_bytes() == CONTENT
    assert asked(host) == [None, "bytes=1000-", None]


def test_a_part_beyond_the_end_is_refused(host: FileHost, tmp_path: Path) -> None:
    host.answers["/broken"] = breaks_in_a_chunk
    host.serves("/part", 206, b"film", Content_Range="bytes 1500-1503/1000")
    host.keeps("/whole", CONTENT)
    host.in_turn("/x.mp4", "/broken", "/part", "/whole")

    assert fetch(host.url("/x.mp4"), tmp_path / "x").path.read_bytes() == CONTENT


def test_a_part_of_another_file_is_refused(host: FileHost, tmp_path: Path) -> None:
    host.breaks_off("/broken", CONTENT[:1000], SIZE, ETag=ETAG["ETag"])
    told = {"Content-Range": f"bytes 1000-{SIZE - 1}/{SIZE}", "ETag": '"OTHER"'}
    host.serves("/part", 206, CONTENT[1000:][::-1], **told)
    host.serves("/whole", 200, CONTENT)
    host.in_turn("/x.mp4", "/broken", "/part", "/whole")

    assert fetch(host.url("/x.mp4"), tmp_path / "x").path.read_bytes() == CONTENT


def test_a_part_shorter_than_asked_for_is_followed_by_the_next(host: FileHost, tmp_path: Path) -> None:
    host.breaks_off("/broken", CONTENT[:1000], SIZE, ETag=ETAG["ETag"])
    told = {"Content-Range": f"bytes 1000-1999/{SIZE}"}
    host.serves("/part", 206, CONTENT[1000:2000], **told)
    host.keeps("/rest", CONTENT, ETAG)
    host.in_turn("/x.mp4", "/broken", "/part", "/rest")

    assert fetch(host.url("/x.mp4"), tmp_path / "x").path.read_bytes() == CONTENT
    assert asked(host) == [None, "bytes=1000-", "bytes=2000-"]


def test_a_file_that_shrank_is_fetched_again(host: FileHost, tmp_path: Path) -> None:
    host.breaks_off("/broken", CONTENT[:1000], SIZE, ETag=ETAG["ETag"])
    host.keeps("/shrunk", CONTENT[:500], ETAG)
    host.in_turn("/x.mp4", "/broken", "/shrunk")

    assert fetch(host.url("/x.mp4"), tmp_path / "x").path.read_bytes() == CONTENT[:500]
    assert asked(host) == [None, "bytes=1000-", None]


def test_a_web_page_in_place_of_the_file_discards_nothing_that_has_arrived(host: FileHost, tmp_path: Path) -> None:
    host.keeps("/film", CONTENT, ETAG, breaks=[1000])
    host.serves("/page", 200, b"<html>Welcome</html>", Content_Type="text/html; charset=utf-8")
    host.in_turn("/x.mp4", "/film", "/page", "/film")

    assert fetch(host.url("/x.mp4"), tmp_path / "x").path.read_bytes() == CONTENT
    assert asked(host) == [None, "bytes=1000-", "bytes=1000-"]


# Another attempt, or none --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 599])
def test_a_failing_host_is_asked_again_with_the_same_url(status: int, host: FileHost, tmp_path: Path) -> None:
    host.serves("/busy", status, b"no")
    host.serves("/film", 200, b"film")
    host.in_turn("/x.mp4", "/busy", "/busy", "/film")
    links = Links(host.url("/x.mp4"))

    assert fetch(links, tmp_path / "x").attempts == 3
    assert links.calls == 1


@pytest.mark.parametrize("status", [204, 206, 304, 400, 401, 405, 412, 416, 451])
def test_an_answer_that_will_not_change_ends_the_download_at_once(status: int, host: FileHost, tmp_path: Path) -> None:
    host.serves("/x.mp4", status, b"", announced=-1 if status in (204, 304) else None)

    error = failure(host.url("/x.mp4"), tmp_path / "x")

    assert str(error) == f"The file host answered HTTP {status}."
    assert not error.link_refused
    assert len(host.requests) == 1


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_refused_url_is_replaced_once_and_the_download_is_resumed(
    status: int, host: FileHost, tmp_path: Path
) -> None:
    host.keeps("/film", CONTENT, ETAG, breaks=[1000])
    host.serves("/refused", status, OSS_REFUSAL)
    host.in_turn("/old.mp4", "/film", "/refused")
    host.in_turn("/new.mp4", "/film")
    links = Links(host.url("/old.mp4"), host.url("/new.mp4"))

    assert fetch(links, tmp_path / "x").path.read_bytes() == CONTENT
    assert links.calls == 2
    assert asked(host) == [None, "bytes=1000-", "bytes=1000-"]


def test_a_download_fails_when_every_url_is_refused(host: FileHost, tmp_path: Path) -> None:
    host.serves("/x.mp4", 403, OSS_REFUSAL, Content_Type="application/xml")
    links = Links(host.url("/x.mp4"))

    error = failure(links, tmp_path / "x")

    assert str(error).startswith("The file host answered HTTP 403 (SignatureDoesNotMatch). 0 bytes have arrived.")
    assert "after 5 attempts" in str(error)
    assert error.link_refused
    assert (links.calls, len(host.requests)) == (5, 5)


def test_errors_of_reading_a_fresh_url_are_not_caught(tmp_path: Path) -> None:
    def no_link() -> str:
        raise LookupError("the task is gone")

    with pytest.raises(LookupError, match="the task is gone"):
        download(no_link, tmp_path / "x", tls=tls_context())


def test_a_download_of_one_byte_an_attempt_ends(host: FileHost, tmp_path: Path) -> None:
    host.keeps("/x.mp4", CONTENT, ETAG, breaks=[1] * 1000)

    error = failure(host.url("/x.mp4"), tmp_path / "x")

    assert f"100 of {SIZE:,} bytes" in str(error)
    assert f"after {MAX_ATTEMPTS} attempts" in str(error)


def test_fetching_the_same_bytes_over_and_over_is_no_progress(host: FileHost, tmp_path: Path) -> None:
    host.keeps("/x.mp4", CONTENT, breaks=[1000] * 1000)

    failure(host.url("/x.mp4"), tmp_path / "x")

    assert len(host.requests) == 1 + MAX_ATTEMPTS_WITHOUT_PROGRESS


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between attempts, in seconds; nothing sleeps."""
    made: list[float] = []
    monkeypatch.setattr("tenacity.nap.time", SimpleNamespace(sleep=made.append))
    return made


def test_pauses_grow_from_failure_to_failure(pauses: list[float], host: FileHost, tmp_path: Path) -> None:
    host.serves("/x.mp4", 503, b"")

    failure(host.url("/x.mp4"), tmp_path / "x")

    assert [least <= pause <= least + 1 for least, pause in zip([1, 2, 4, 8], pauses, strict=True)] == [True] * 4


@pytest.mark.parametrize(
    ("header", "seconds"), [("20", 20), ("100000", 120), ("inf", 120), ("-5", 1), ("soon", 1), ("nan", 1), ("", 1)]
)
def test_a_host_may_ask_for_a_longer_pause_within_a_bound(
    header: str, seconds: float, pauses: list[float], host: FileHost, tmp_path: Path
) -> None:
    host.serves("/busy", 503, b"", Retry_After=header)
    host.serves("/film", 200, b"film")
    host.in_turn("/x.mp4", "/busy", "/film")

    fetch(host.url("/x.mp4"), tmp_path / "x")

    (pause,) = pauses
    assert seconds <= pause <= seconds + 1


# What is checked -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "checks"),
    [
        ({"x-oss-hash-crc64ecma": CRC64}, ("length", "crc64")),
        ({"Content-MD5": MD5}, ("length", "md5")),
        ({"x-oss-hash-crc64ecma": CRC64, "Content-MD5": MD5}, ("length", "crc64")),
    ],
)
def test_checksums_in_the_headers_are_checked_over_a_resume(
    told: dict[str, str], checks: tuple[str, ...], host: FileHost, tmp_path: Path
) -> None:
    host.keeps("/x.mp4", CONTENT, ETAG | told, breaks=[1000])

    assert fetch(host.url("/x.mp4"), tmp_path / "x").checks == checks


@pytest.mark.parametrize("told", [{"x-oss-hash-crc64ecma": CRC64}, {"Content-MD5": MD5}])
def test_a_corrupt_file_is_fetched_again_from_its_beginning(
    told: dict[str, str], host: FileHost, tmp_path: Path
) -> None:
    spoilt = b"\1" + CONTENT[1:]
    host.keeps("/spoilt", spoilt, ETAG | told)
    host.keeps("/film", CONTENT, ETAG | told)
    host.in_turn("/x.mp4", "/spoilt", "/film")

    assert fetch(host.url("/x.mp4"), tmp_path / "x").path.read_bytes() == CONTENT
    assert asked(host) == [None, None]


@pytest.mark.parametrize(("told", "name"), [({"x-oss-hash-crc64ecma": CRC64}, "CRC-64"), ({"Content-MD5": MD5}, "MD5")])
def test_a_file_that_stays_corrupt_is_refused(told: dict[str, str], name: str, host: FileHost, tmp_path: Path) -> None:
    host.keeps("/x.mp4", CONTENT[:-1] + b"\1", ETAG | told)

    error = failure(host.url("/x.mp4"), tmp_path / "x")

    assert str(error).startswith(f"The file does not have the {name} checksum")
    assert len(host.requests) == 1 + MAX_ATTEMPTS_WITHOUT_PROGRESS


@pytest.mark.parametrize(
    "told",
    [
        {"x-oss-hash-crc64ecma": "0x1F"},
        {"x-oss-hash-crc64ecma": "9" * 5000},
        {"x-oss-hash-crc64ecma": "-1"},
        {"Content-MD5": "not base64"},
        {"Content-MD5": "AAAA"},
        {"Content-MD5": ""},
    ],
)
def test_an_invalid_checksum_header_is_ignored(told: dict[str, str], host: FileHost, tmp_path: Path) -> None:
    host.keeps("/x.mp4", CONTENT, told)

    assert fetch(host.url("/x.mp4"), tmp_path / "x").checks == ("length",)


def test_more_bytes_than_announced_are_not_read(host: FileHost, tmp_path: Path) -> None:
    host.serves("/x.mp4", 200, CONTENT + b"more", announced=len(CONTENT))

    assert fetch(host.url("/x.mp4"), tmp_path / "x").path.read_bytes() == CONTENT


@pytest.mark.parametrize("announced", [None, -1])
def test_a_file_that_is_too_large_is_refused(announced: int | None, host: FileHost, tmp_path: Path) -> None:
    host.serves("/x.mp4", 200, CONTENT, announced=announced)

    error = failure(host.url("/x.mp4"), tmp_path / "x", max_bytes=len(CONTENT) - 1)

    assert "more than the 1,279,999 bytes" in str(error)
    assert len(host.requests) == 1
    assert (tmp_path / "x").stat().st_size < len(CONTENT)
    assert fetch(host.url("/x.mp4"), tmp_path / "x", max_bytes=len(CONTENT)).bytes == len(CONTENT)


def test_a_full_disk_is_reported_before_anything_is_written(
    host: FileHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.keeps("/x.mp4", CONTENT, ETAG, breaks=[1000])
    free = iter([len(CONTENT), len(CONTENT) - 1001])
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: SimpleNamespace(free=next(free)))

    error = failure(host.url("/x.mp4"), tmp_path / "x")

    assert "1,279,000 bytes are still to come, and 1,278,999 bytes are free" in str(error)
    assert str(tmp_path) in str(error)
    assert len(host.requests) == 2


def test_an_error_of_writing_is_not_blamed_on_the_host(host: FileHost) -> None:
    host.serves("/x.mp4", 200, CONTENT)

    with pytest.raises(OSError, match="Invalid argument"):
        fetch(host.url("/x.mp4"), Path("/dev/full"))  # a device cannot be cut to length
    assert len(host.requests) == 1


# A file that does not arrive -----------------------------------------------------------------------------------------


def test_an_empty_file_is_refused(host: FileHost, tmp_path: Path) -> None:
    host.serves("/x.mp4", 200, b"")

    assert str(failure(host.url("/x.mp4"), tmp_path / "x")).startswith("The file host sent an empty file.")


@pytest.mark.parametrize("announced", [len(CONTENT) + 1, 2 * len(CONTENT)])
def test_a_file_shorter_than_announced_is_refused(announced: int, host: FileHost, tmp_path: Path) -> None:
    host.serves("/x.mp4", 200, CONTENT, announced=announced)

    error = failure(host.url("/x.mp4"), tmp_path / "x")

    assert f"{SIZE:,} of {announced:,} bytes have arrived" in str(error)
    assert f"after {MAX_ATTEMPTS_WITHOUT_PROGRESS + 1} attempts" in str(error)
    assert not error.link_refused


def test_a_host_that_falls_silent_is_given_up(host: FileHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FileClient", partial(FileClient, read_timeout_s=0.05))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/x.mp4?Signature=TOPSECRET"

        assert "TimeoutError" in str(failure(url, tmp_path / "x"))


def drip(beginning: bytes) -> Callable[[BaseHTTPRequestHandler], None]:
    """An answer that goes on without end, by one byte after the other."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b'HTTP/1.1 200 OK\r\nETag: "same"\r\n' + beginning)
        while True:
            handler.wfile.write(b"x")
            time.sleep(0.005)

    return answer


@pytest.mark.parametrize("beginning", [b"X-Endless: ", b"\r\n", b"Content-Length: 1000000\r\n\r\n"])
def test_a_host_that_drips_does_not_hold_the_worker(
    beginning: bytes, host: FileHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pace, "WINDOW_S", 0.2)
    monkeypatch.setattr(module, "GRACE_S", 1.0)
    host.answers["/x.mp4"] = drip(beginning)

    error = failure(host.url("/x.mp4"), tmp_path / "x", total_s=0.2, least_speed=1e6)

    assert "the host was too slow" in str(error)
    assert len(host.requests) < MAX_ATTEMPTS


def test_a_host_that_was_too_slow_once_is_asked_for_the_rest(
    host: FileHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nETag: %s\r\n" % ETAG["ETag"].encode())
        handler.wfile.write(b"Content-Length: %d\r\n\r\n" % SIZE + CONTENT[:1000])
        while handler.rfile.read(1):  # the client leaves
            pass

    monkeypatch.setattr(Pace, "WINDOW_S", 1.0)
    host.answers["/slow"] = slow
    host.keeps("/whole", CONTENT, ETAG)
    host.in_turn("/x.mp4", "/slow", "/whole")

    file = fetch(host.url("/x.mp4"), tmp_path / "x", least_speed=2e4)

    assert file.path.read_bytes() == CONTENT
    assert file.attempts == 2
    assert host.body_bytes == SIZE - 1000


def test_a_host_that_sends_another_file_each_time_is_given_up(host: FileHost, tmp_path: Path) -> None:
    size = 100_000

    def another(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b'HTTP/1.1 200 OK\r\nETag: "%d"\r\n' % len(host.requests))
        handler.wfile.write(b"Content-Length: %d\r\n\r\n" % size + bytes(size // 2 + len(host.requests)))

    host.answers["/x.mp4"] = another

    failure(host.url("/x.mp4"), tmp_path / "x", max_bytes=size)

    assert len(host.requests) == 4  # twice the size of the largest file, and what the last attempt brought


def test_a_host_that_cannot_be_reached_is_a_failed_download(tmp_path: Path) -> None:
    assert "gaierror" in str(failure("https://nonexistent.invalid/x.mp4?Signature=TOPSECRET", tmp_path / "x"))


def test_an_untrusted_certificate_is_a_failed_download(tls_hosts: Callable[[], FileHost], tmp_path: Path) -> None:
    stranger = tls_hosts()
    stranger.serves("/x.mp4", 200, b"film")

    error = failure(stranger.url("/x.mp4"), tmp_path / "x")

    assert "not trusted: self-signed certificate" in str(error)
    assert stranger.requests == []


@pytest.mark.parametrize(
    "body", [b"\xff\xfe\x00", b"<Code></Code>", b"<Code><script>TOPSECRET?</Code>", b"x" * 100_000, b""]
)
def test_any_body_of_an_error_page_is_handled(body: bytes, host: FileHost, tmp_path: Path) -> None:
    host.serves("/x.mp4", 503, body)

    assert str(failure(host.url("/x.mp4"), tmp_path / "x")).startswith("The file host answered HTTP 503. ")


# Where it may come from ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/x.mp4?Signature=TOPSECRET",
        "http://files.example/x.mp4?Signature=TOPSECRET",
        "ftp://files.example/x.mp4?Signature=TOPSECRET",
        "file:///etc/passwd?Signature=TOPSECRET",
        "files.example/x.mp4?Signature=TOPSECRET",
        "//files.example/x.mp4?Signature=TOPSECRET",
        "https://?Signature=TOPSECRET",
        "https:///x.mp4?Signature=TOPSECRET",
        "https://[files.example/x.mp4?Signature=TOPSECRET",
        "https://files.example:port/x.mp4?Signature=TOPSECRET",
        "",
    ],
)
def test_only_https_urls_are_requested(url: str, host: FileHost, tmp_path: Path) -> None:
    port = host.base_url.rpartition(":")[2]

    failure(url.format(port=port), tmp_path / "x", private_allowed=False)

    assert host.requests == []


@pytest.mark.parametrize("url", ["http://files.example:81/x.mp4?Signature=TOPSECRET", "ftp://127.0.0.1/x.mp4"])
def test_even_for_an_emulator_http_is_for_private_hosts_only(
    url: str, names: dict[str, list[list[str]]], tmp_path: Path
) -> None:
    names["files.example"] = [["93.184.216.34"]]

    assert "only https is read" in str(failure(url, tmp_path / "x"))


def test_a_private_host_may_be_named(names: dict[str, list[list[str]]], host: FileHost, tmp_path: Path) -> None:
    names["emulator"] = [["127.0.0.1"]]
    host.serves("/x.mp4", 200, b"film")

    assert fetch(host.url("/x.mp4").replace("127.0.0.1", "emulator"), tmp_path / "x").bytes == 4


@pytest.mark.parametrize(
    "place", ["127.0.0.1", "localhost", "10.0.0.1", "169.254.169.254", "[::1]", "[fd00::1]", "2130706433", "127.1"]
)
def test_no_file_is_fetched_from_a_private_address(
    place: str, tls_hosts: Callable[[], FileHost], tmp_path: Path
) -> None:
    port = tls_hosts().base_url.rpartition(":")[2]

    error = failure(f"https://{place}:{port}/x.mp4?Signature=TOPSECRET", tmp_path / "x", private_allowed=False)

    assert f"on host {place.strip('[]')}, which is this machine or in a private network" in str(error)


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["93.184.216.34", "10.0.0.1"]])
def test_no_file_is_fetched_from_a_name_that_resolves_to_a_private_address(
    addresses: list[str], names: dict[str, list[list[str]]], tmp_path: Path
) -> None:
    names["files.example"] = [addresses]

    error = failure("https://files.example/x.mp4?Signature=TOPSECRET", tmp_path / "x", private_allowed=False)

    assert "is this machine or in a private network" in str(error)


def test_a_redirect_to_a_private_address_is_refused(
    tls: Tls, tls_hosts: Callable[[], FileHost], proxied: Callable[[FileHost], Proxy], tmp_path: Path
) -> None:
    public, private = tls_hosts(), tls_hosts()
    proxied(public)
    public.redirects("/x.mp4", private.url("/y.mp4"))

    with pytest.raises(TransferFailed, match=r"on host 127\.0\.0\.1, which is this machine"):
        download(Links("https://files.example/x.mp4"), tmp_path / "x", tls=tls.client)

    assert len(public.requests) == 1
    assert private.requests == []


@pytest.mark.parametrize("scheme", ["http://", ""])
def test_a_proxy_resolves_the_host(
    scheme: str, tls: Tls, tls_hosts: Callable[[], FileHost], proxied: Callable[..., Proxy], tmp_path: Path
) -> None:
    target = tls_hosts()
    target.serves("/x.mp4", 200, b"film")
    proxy = proxied(target, scheme)

    file = download(Links("https://files.example/x.mp4?Signature=TOPSECRET"), tmp_path / "x", tls=tls.client)

    assert file.bytes == 4
    assert proxy.requests == [("files.example:443", f"Basic {base64.b64encode(b'me:p@ss').decode()}")]


def test_a_host_that_needs_no_proxy_is_asked_directly(
    tls: Tls,
    tls_hosts: Callable[[], FileHost],
    proxied: Callable[..., Proxy],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    target = tls_hosts()
    target.serves("/x.mp4", 200, b"film")
    proxy = proxied(target)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    download(Links(target.url("/x.mp4")), tmp_path / "x", tls=tls.client, private_allowed=True)

    assert proxy.requests == []


def test_an_https_proxy_is_refused_with_the_reason(
    tls_hosts: Callable[[], FileHost], proxied: Callable[..., Proxy], tmp_path: Path
) -> None:
    proxied(tls_hosts(), "https://")

    error = failure("https://files.example/x.mp4", tmp_path / "x", private_allowed=False)

    assert "names a proxy of scheme 'https'" in str(error)
    assert "p@ss" not in str(error)


def test_a_redirect_to_https_is_followed(
    tls: Tls, host: FileHost, tls_hosts: Callable[[], FileHost], tmp_path: Path
) -> None:
    target = tls_hosts()
    target.serves("/y.mp4", 200, b"film")
    host.redirects("/x.mp4", target.url("/y.mp4"))

    file = download(Links(host.url("/x.mp4")), tmp_path / "x", tls=tls.client, private_allowed=True)

    assert file.path.read_bytes() == b"film"
    assert "Signature=TOPSECRET" in target.requests[0][0]
    assert "authorization" not in target.requests[0][1]


def test_a_redirect_to_http_beyond_private_networks_is_refused_even_for_an_emulator(
    names: dict[str, list[list[str]]], host: FileHost, tmp_path: Path
) -> None:
    names["files.example"] = [["93.184.216.34"]]
    host.redirects("/x.mp4", "http://files.example:81/y.mp4?Signature=TOPSECRET")

    assert "the scheme 'http' (host files.example)" in str(failure(host.url("/x.mp4"), tmp_path / "x"))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_within_loopback_is_followed_for_an_emulator(status: int, host: FileHost, tmp_path: Path) -> None:
    host.redirects("/x.mp4", "/y.mp4?Signature=other", status)
    host.serves("/y.mp4", 200, b"film")

    assert fetch(host.url("/x.mp4"), tmp_path / "x").bytes == 4


def test_endless_redirects_end(host: FileHost, tmp_path: Path) -> None:
    host.redirects("/x.mp4", "/x.mp4?Signature=TOPSECRET")

    assert str(failure(host.url("/x.mp4"), tmp_path / "x")).startswith("The file host redirected more than")
    assert len(host.requests) == MAX_REDIRECTS + 1


@pytest.mark.parametrize(
    "location", ["https://[x?Signature=TOPSECRET", "https://x:port/?TOPSECRET", "https://", "mailto:a", "\\\\x"]
)
def test_a_redirect_to_an_invalid_url_is_a_failed_download(location: str, host: FileHost, tmp_path: Path) -> None:
    host.redirects("/x.mp4", location)
    host.serves("/\\\\x", 404, b"")

    failure(host.url("/x.mp4"), tmp_path / "x")


def test_a_redirect_without_a_target_is_an_answer_like_any_other(host: FileHost, tmp_path: Path) -> None:
    host.serves("/x.mp4", 302, b"elsewhere")

    assert "HTTP 302" in str(failure(host.url("/x.mp4"), tmp_path / "x"))


# Whatever a host may answer ------------------------------------------------------------------------------------------

NUMBERS = st.sampled_from(["0", "4", "7", "-1", "+4", "4, 4", "0x4", "1_0", "9" * 25, "\xb2", ""])
LOCATIONS = ["/x.mp4", "/y.mp4?TOPSECRET", "https://[", "ftp://x", "//", "http://a b/", "http://a:b/", "\xe9"]
HEADERS = {
    "Content-Length": NUMBERS,
    "Content-Range": st.builds("bytes {}-{}/{}".format, NUMBERS, NUMBERS, NUMBERS | st.just("*")),
    "Content-Type": st.sampled_from(["text/html", "video/mp4", "/;=", ""]),
    "Content-MD5": st.sampled_from([MD5, "x", "\xe9"]),
    "ETag": st.sampled_from([ETAG["ETag"], '"OTHER"', 'W/"weak"', "x", '"\xe9"', '"a"\r\n b']),
    "Last-Modified": st.sampled_from(["Sun, 22 Nov 2026 00:00:00 GMT", "soon"]),
    "Location": st.sampled_from(LOCATIONS),
    "Retry-After": NUMBERS,
    "Transfer-Encoding": st.sampled_from(["chunked", "gzip"]),
    "x-oss-hash-crc64ecma": NUMBERS,
}
STATUSES = st.sampled_from([200, 206, 416, 403, 503, 302, 100, 204, 304]) | st.integers(0, 999)
BODIES = st.sampled_from([b"film", b"4\r\nfilm\r\n0\r\n\r\n", b"-5\r\nfilm", b"4\r\nfi"]) | st.binary(max_size=12)


def answer_of(status: int, headers: dict[str, str], body: bytes) -> bytes:
    lines = [f"HTTP/1.1 {status} x", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


ANSWERS = st.builds(answer_of, STATUSES, st.fixed_dictionaries({}, optional=HEADERS), BODIES) | st.binary(max_size=40)


@given(answers=st.lists(ANSWERS, min_size=1, max_size=6))
def test_any_answers_make_a_whole_file_or_a_failed_download(
    answers: list[bytes], host: FileHost, tmp_path: Path
) -> None:
    turns = itertools.chain(answers, itertools.repeat(answer_of(500, {}, b"")))

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(next(turns))

    host.serves("/y.mp4", 404, b"")
    host.answers["/x.mp4"] = answer
    host.requests.clear()
    try:
        file = fetch(host.url("/x.mp4"), tmp_path / "x")
    except TransferFailed as failed:
        told = str(failed)
    else:
        content = file.path.read_bytes()
        told = f"{len(content)} {hashlib.sha256(content).hexdigest()}"
        assert content
        assert told == f"{file.bytes} {file.sha256}"
    assert "TOPSECRET" not in told
    assert len(host.requests) <= (MAX_REDIRECTS + 1) * (len(answers) + MAX_ATTEMPTS_WITHOUT_PROGRESS)
