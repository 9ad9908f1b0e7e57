from __future__ import annotations

import gzip
import hashlib
import logging
import socket
import time
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

from airflow_wan.api.client import WanClient, tls_context
from airflow_wan.api.gateways import APIYI, Account
from airflow_wan.api.requests import build_video_request
from airflow_wan.files import download as module
from airflow_wan.files.download import CHUNK_BYTES, MAX_REDIRECTS, DownloadedFile, DownloadError, download
from airflow_wan.files.inspection import inspect_video

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import FileHost, Tls

    from airflow_wan.emulator.testing import MediaServer, RunningEmulator

CONTENT = bytes(range(256)) * 5000  # more than one chunk


def fetch(url: str, path: Path, *, loopback_allowed: bool = True) -> DownloadedFile:
    return download(url, path, tls=tls_context(), loopback_allowed=loopback_allowed)


def failure(url: str, path: Path, **options: Any) -> DownloadError:
    """The error of a download that fails; whatever it is about, it must not show the signature."""
    with pytest.raises(DownloadError) as caught:
        fetch(url, path, **options)
    error = caught.value
    told = f"{error} {error!r} {error.args}"
    assert "TOPSECRET" not in told
    assert "?" not in told
    assert error.__suppress_context__ or error.__context__ is None
    return error


# A file that arrives -------------------------------------------------------------------------------------------------


def test_a_whole_file_is_written_with_its_size_and_digest(host: FileHost, tmp_path: Path) -> None:
    assert len(CONTENT) > CHUNK_BYTES
    host.serves("/x.mp4", 200, CONTENT, Content_Type="video/mp4")

    file = fetch(host.url("/x.mp4"), tmp_path / "x.part")

    assert file == DownloadedFile(tmp_path / "x.part", len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
    assert file.path.read_bytes() == CONTENT


def test_the_request_is_a_plain_get_of_the_signed_url(host: FileHost, tmp_path: Path) -> None:
    host.serves("/x.mp4", 200, b"film")

    fetch(host.url("/x.mp4"), tmp_path / "x")

    ((path, headers),) = host.requests
    assert path == "/x.mp4?Expires=1&OSSAccessKeyId=LTAIxyz&Signature=TOPSECRET"
    assert headers["accept-encoding"] == "identity"
    assert set(headers) <= {"host", "accept", "accept-encoding", "connection", "user-agent"}


def test_no_log_line_shows_the_signature(host: FileHost, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    host.serves("/x.mp4", 200, b"film")

    with caplog.at_level(logging.INFO, logger="httpx"):
        fetch(host.url("/x.mp4") + "?Signature=TOPSECRET", tmp_path / "x.part")

    assert "/x.mp4" in caplog.text
    assert "TOPSECRET" not in caplog.text


def test_an_older_longer_file_in_the_way_is_overwritten(host: FileHost, tmp_path: Path) -> None:
    host.serves("/x.mp4", 200, b"film")
    (tmp_path / "x").write_bytes(b"older and longer")

    fetch(host.url("/x.mp4"), tmp_path / "x")

    assert (tmp_path / "x").read_bytes() == b"film"


def test_a_file_of_unannounced_length_is_taken_as_it_comes(host: FileHost, tmp_path: Path) -> None:
    host.serves("/x.mp4", 200, CONTENT, announced=-1)

    assert fetch(host.url("/x.mp4"), tmp_path / "x").bytes == len(CONTENT)


def test_bytes_are_kept_as_sent_although_the_host_mislabels_them(host: FileHost, tmp_path: Path) -> None:
    host.serves("/x.mp4", 200, b"film", Content_Encoding="gzip")

    assert fetch(host.url("/x.mp4"), tmp_path / "x").path.read_bytes() == b"film"


def test_a_film_of_the_emulators_arrives_and_the_key_stays_home(
    wan_emulator: RunningEmulator, media: MediaServer, tmp_path: Path
) -> None:
    account = Account(APIYI, wan_emulator.base_url, "sk-files-0123456789", read_timeout=20.0)
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

    file = fetch(task.video_url, tmp_path / "x.mp4")

    facts = inspect_video(file.path)
    assert facts.duration_s == pytest.approx(2, abs=0.1)
    assert facts.has_audio
    with_key = urllib.request.Request(task.video_url, headers={"Authorization": f"Bearer {account.api_key}"})
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(with_key)
    assert b"SignatureDoesNotMatch" in refused.value.read()


# A file that does not ------------------------------------------------------------------------------------------------


def test_an_empty_file_is_no_video(host: FileHost, tmp_path: Path) -> None:
    host.serves("/x.mp4", 200, b"")

    assert str(failure(host.url("/x.mp4"), tmp_path / "x")) == "The file host sent an empty file."


@pytest.mark.parametrize("announced", [len(CONTENT) + 1, 2 * len(CONTENT)])
def test_a_file_shorter_than_announced_is_refused(announced: int, host: FileHost, tmp_path: Path) -> None:
    host.serves("/x.mp4", 200, CONTENT, announced=announced)

    error = failure(host.url("/x.mp4"), tmp_path / "x")

    assert "RemoteProtocolError" in str(error)
    assert not error.link_refused


def test_a_connection_that_breaks_off_midway_is_a_failed_download(host: FileHost, tmp_path: Path) -> None:
    host.breaks_off("/x.mp4", CONTENT[:1000], announced=len(CONTENT))

    error = failure(host.url("/x.mp4"), tmp_path / "x")

    assert str(error).startswith("The connection to the file host failed (")


def test_a_host_that_falls_silent_is_given_up(host: FileHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "READ_TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/x.mp4?Signature=TOPSECRET"

        assert "ReadTimeout" in str(failure(url, tmp_path / "x"))


def test_a_host_that_cannot_be_reached_is_a_failed_download(tmp_path: Path) -> None:
    assert "ConnectError" in str(failure("https://nonexistent.invalid/x.mp4?Signature=TOPSECRET", tmp_path / "x"))


def test_a_certificate_nobody_vouches_for_is_a_failed_download(
    tls_hosts: Callable[[], FileHost], tmp_path: Path
) -> None:
    stranger = tls_hosts()
    stranger.serves("/x.mp4", 200, b"film")

    assert "ConnectError" in str(failure(stranger.url("/x.mp4"), tmp_path / "x"))
    assert stranger.requests == []


OSS_REFUSAL = b"""<?xml version="1.0" encoding="UTF-8"?>
<Error>
  <Code>SignatureDoesNotMatch</Code>
  <Message>The request signature we calculated does not match the signature you provided: TOPSECRET</Message>
  <OSSAccessKeyId>LTAIxyz</OSSAccessKeyId>
</Error>"""


def test_a_refused_link_is_told_with_the_hosts_code_only(host: FileHost, tmp_path: Path) -> None:
    host.serves("/x.mp4", 403, OSS_REFUSAL, Content_Type="application/xml")

    error = failure(host.url("/x.mp4"), tmp_path / "x")

    assert str(error) == "The file host 127.0.0.1 answered HTTP 403 (SignatureDoesNotMatch)."
    assert error.link_refused


@pytest.mark.parametrize(
    ("status", "refused"),
    [
        (403, True),
        (404, True),
        (410, True),
        (400, False),
        (416, False),
        (500, False),
        (503, False),
        (204, False),
        (206, False),
        (304, False),
    ],
)
def test_only_answers_that_a_fresh_link_may_mend_count_as_a_refused_link(
    status: int,
    refused: bool,
    host: FileHost,
    tmp_path: Path,
) -> None:
    host.serves(
        "/x.mp4", status, b"" if status in (204, 304) else b"no", announced=-1 if status in (204, 304) else None
    )

    error = failure(host.url("/x.mp4"), tmp_path / "x")

    assert f"HTTP {status}" in str(error)
    assert error.link_refused is refused


@pytest.mark.parametrize(
    "body", [b"\xff\xfe\x00", b"<Code></Code>", b"<Code><script>TOPSECRET?</Code>", b"x" * 100_000, b""]
)
def test_any_body_of_an_error_page_will_do(body: bytes, host: FileHost, tmp_path: Path) -> None:
    host.serves("/x.mp4", 503, body)

    assert str(failure(host.url("/x.mp4"), tmp_path / "x")) == "The file host 127.0.0.1 answered HTTP 503."


def test_an_error_page_mislabelled_as_gzip_is_a_failed_download(host: FileHost, tmp_path: Path) -> None:
    host.serves("/x.mp4", 503, b"plain", Content_Encoding="gzip")
    host.serves("/y.mp4", 403, gzip.compress(OSS_REFUSAL), Content_Encoding="gzip")

    failure(host.url("/x.mp4"), tmp_path / "x")
    assert failure(host.url("/y.mp4"), tmp_path / "x").link_refused


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
def test_only_https_is_asked_for_a_file(url: str, host: FileHost, tmp_path: Path) -> None:
    port = host.base_url.rpartition(":")[2]

    failure(url.format(port=port), tmp_path / "x", loopback_allowed=False)

    assert host.requests == []
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    "url", ["http://files.example/x.mp4?Signature=TOPSECRET", "http://10.0.0.1/x.mp4", "ftp://127.0.0.1/x.mp4"]
)
def test_an_emulator_opens_no_door_beyond_http_on_loopback(url: str, tmp_path: Path) -> None:
    assert "only https is followed" in str(failure(url, tmp_path / "x"))


def test_a_redirect_to_https_is_followed(
    tls: Tls, host: FileHost, tls_hosts: Callable[[], FileHost], tmp_path: Path
) -> None:
    target = tls_hosts()
    target.serves("/y.mp4", 200, b"film")
    host.redirects("/x.mp4", target.url("/y.mp4"))

    file = download(host.url("/x.mp4"), tmp_path / "x", tls=tls.client, loopback_allowed=True)

    assert file.path.read_bytes() == b"film"
    assert "Signature=TOPSECRET" in target.requests[0][0]
    assert "authorization" not in target.requests[0][1]


def test_a_redirect_from_https_down_to_http_is_refused(
    tls: Tls, host: FileHost, tls_hosts: Callable[[], FileHost], tmp_path: Path
) -> None:
    source = tls_hosts()
    source.redirects("/x.mp4", host.url("/y.mp4"))
    host.serves("/y.mp4", 200, b"film")

    with pytest.raises(DownloadError, match="only https is followed") as caught:
        download(source.url("/x.mp4"), tmp_path / "x", tls=tls.client)

    assert "TOPSECRET" not in str(caught.value)
    assert host.requests == []


def test_a_redirect_to_http_beyond_loopback_is_refused_even_for_an_emulator(host: FileHost, tmp_path: Path) -> None:
    host.redirects("/x.mp4", "http://files.example/y.mp4?Signature=TOPSECRET")

    assert "http URL on host files.example" in str(failure(host.url("/x.mp4"), tmp_path / "x"))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_within_loopback_is_followed_for_an_emulator(status: int, host: FileHost, tmp_path: Path) -> None:
    host.redirects("/x.mp4", "/y.mp4?Signature=other", status)
    host.serves("/y.mp4", 200, b"film")

    assert fetch(host.url("/x.mp4"), tmp_path / "x").bytes == 4


def test_redirects_come_to_an_end(host: FileHost, tmp_path: Path) -> None:
    host.redirects("/x.mp4", "/x.mp4?Signature=TOPSECRET")

    assert str(failure(host.url("/x.mp4"), tmp_path / "x")).startswith("The file host redirected more than")
    assert len(host.requests) == MAX_REDIRECTS + 1


@pytest.mark.parametrize(
    "location", ["https://[x?Signature=TOPSECRET", "https://x:port/?TOPSECRET", "https://", "mailto:a", "\\\\x"]
)
def test_a_redirect_to_nowhere_is_a_failed_download(location: str, host: FileHost, tmp_path: Path) -> None:
    host.redirects("/x.mp4", location)
    host.serves("/\\\\x", 404, b"")

    failure(host.url("/x.mp4"), tmp_path / "x")


def test_a_redirect_without_a_target_is_an_answer_like_any_other(host: FileHost, tmp_path: Path) -> None:
    host.serves("/x.mp4", 302, b"elsewhere")

    assert "HTTP 302" in str(failure(host.url("/x.mp4"), tmp_path / "x"))
