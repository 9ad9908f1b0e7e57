"""Requests that nobody sends by mistake: the emulator refuses them, and serves the next request as before."""

from __future__ import annotations

import gzip
import json
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import pytest
from media_files import tone

from airflow_wan.emulator import app, media, records
from airflow_wan.emulator.gateway_names import GatewayName
from airflow_wan.emulator.settings import Settings
from airflow_wan.emulator.validation import MediaItem

if TYPE_CHECKING:
    from pathlib import Path

    from file_host import FileHost

    from airflow_wan.emulator.testing import RunningEmulator

CREATES = ["/wan/api/v1/services/aigc/video-generation/video-synthesis", app._CREATE_PATH]
DEEP = b"[" * 100_000 + b"]" * 100_000
DEEP_BUT_READABLE = b"[" * 400 + b"]" * 400

BODIES = {
    "nothing": b"",
    "no JSON": b"\xff\xfe\x00",
    "nested beyond the recursion limit": DEEP,
    "nested deeply": DEEP_BUT_READABLE,
    "nested deeply in a field": b'{"model": "wan2.7-t2v", "input": {"prompt": "x"}, "x": %s}' % DEEP_BUT_READABLE,
    "an endless beginning": b"[" * 900_000,
    "NaN": b'{"advance_s": NaN, "on": "poll", "kind": "delay", "delay_s": NaN}',
    "infinity": b'{"advance_s": Infinity, "on": "poll", "kind": "delay", "delay_s": Infinity}',
    "a float beyond all floats": b'{"advance_s": 1e400, "on": "poll", "kind": "delay", "delay_s": 1e400}',
    "an integer beyond all floats": b'{"advance_s": 1%s, "on": "poll", "kind": "delay", "delay_s": 1%s}'
    % (b"0" * 400, b"0" * 400),
    "an integer beyond Python's": b'{"advance_s": %s}' % (b"9" * 5000),
    "less than nothing": b'{"advance_s": -1, "on": "poll", "kind": "delay", "delay_s": -1}',
    "true": b'{"advance_s": true, "on": "poll", "kind": "delay", "delay_s": true}',
    "a time beyond all dates": b'{"advance_s": 1e15, "on": "poll", "kind": "delay", "delay_s": 1e15}',
    "half a surrogate pair": rb'{"model": "\ud800", "advance_s": "\ud800", "on": "\ud800"}',
    "a list of lists": b"[[[]]]",
    "a whole number that is too great": b'{"on": "download", "kind": "slow", "bytes_per_s": 1%s}' % (b"0" * 400),
    "a length that is too great": b'{"on": "download", "kind": "wrong_length", "off_by": 1%s}' % (b"0" * 4000),
    "gzip": gzip.compress(b'{"advance_s": 1}'),
}


def is_well(http: httpx.Client) -> bool:
    answers = [http.get(f"/_emulator/{what}") for what in ("ledger", "requests", "uploads", "faults")]
    return [answer.status_code for answer in answers] == [200] * 4


@pytest.mark.parametrize("path", [*CREATES, "/_emulator/clock", "/_emulator/faults"])
@pytest.mark.parametrize("name", BODIES)
def test_a_bad_body_is_refused(http: httpx.Client, wan_emulator: RunningEmulator, path: str, name: str) -> None:
    headers = {"Content-Type": "application/json", "X-DashScope-Async": "enable"}
    headers |= {"Content-Encoding": "gzip"} if name == "gzip" else {}

    answer = http.post(path, content=BODIES[name], headers=headers)

    assert 400 <= answer.status_code < 500
    assert is_well(http)
    assert wan_emulator.ledger() == []
    assert wan_emulator.faults() == []


def test_a_picture_of_100_megapixels_is_not_rendered(dashscope: Any) -> None:
    body = {"model": "wan2.6-t2v", "input": {"prompt": "x"}, "parameters": {"size": "9999*9999"}}

    assert dashscope.create(body).status_code == 400


def test_the_clock_stays_within_the_dates_however_often_it_moves(http: httpx.Client) -> None:
    years = 9 * 365 * 24 * 3600

    answers = [http.post("/_emulator/clock", json={"advance_s": years}) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200, 400, 400]
    assert is_well(http)


@pytest.mark.parametrize("name", ["pending_s", "running_s", "task_ttl_s", "url_ttl_s"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, 1e300, 10**400, True, "1"])
def test_a_setting_that_is_no_time_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        Settings(**{name: value})


@pytest.mark.parametrize(
    "options",
    [
        ["--pending-s", "nan"],
        ["--running-s", "inf"],
        ["--pending-s", "-1"],
        ["--running-s", "soon"],
        ["--port", "65536"],
        ["--fault", '{"on": "poll", "kind": "delay", "delay_s": Infinity}'],
        ["--fault", "[" * 100_000],
    ],
)
def test_a_command_line_that_is_no_time_is_refused_in_a_sentence(options: list[str]) -> None:
    command = [sys.executable, "-m", "airflow_wan.emulator", *options]

    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert run.returncode == 2
    assert f"argument {options[0]}" in run.stderr
    assert "Traceback" not in run.stderr


class TestLongBodies:
    @pytest.fixture(autouse=True)
    def little_room(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(app, "_LARGEST_CREATE_BYTES", 200_000)

    @pytest.mark.parametrize("path", [*CREATES, "/_emulator/clock", "/_emulator/faults"])
    @pytest.mark.parametrize("announced", [True, False])
    def test_a_body_is_not_read_without_end(self, http: httpx.Client, path: str, announced: bool) -> None:
        body = b" " * 2_000_000
        pieces: Any = body if announced else iter([body[:100_000]] * 20)

        try:
            answer: httpx.Response | None = http.post(path, content=pieces, headers={"X-DashScope-Async": "enable"})
        except httpx.WriteError:  # the emulator has closed the connection
            answer = None

        assert answer is None or answer.status_code == 413
        assert is_well(http)

    def test_the_answer_says_how_much_is_read(self, wan_emulator: RunningEmulator) -> None:
        address = urlsplit(wan_emulator.base_url)
        with socket.create_connection((str(address.hostname), int(address.port or 0)), timeout=10) as connection:
            head = f"POST {CREATES[0]} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000000\r\n\r\n"
            connection.sendall(head.encode() + b" " * 200_001)
            answer = b""
            while piece := connection.recv(65536):  # until the emulator closes the connection
                answer += piece

        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b"200000 bytes" in answer
        assert wan_emulator.requests() == []

    def test_the_store_answers_in_its_own_words(self, http: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(app, "LARGEST_FORM_BYTES", 1000)

        answer = http.post(app._STORE_PATH, files={"file": ("a.png", b"x" * 2000)})

        assert answer.status_code == 400
        assert "<Code>EntityTooLarge</Code>" in answer.text


def test_the_request_log_does_not_grow_without_end(apiyi: Any, wan_emulator: RunningEmulator, monkeypatch: Any) -> None:
    monkeypatch.setattr(records, "_KEPT_BYTES", 25_000)

    for number in range(5):
        apiyi.create(json.dumps({"number": number, "long": "x" * 10_000}).encode())

    assert [request["body"]["number"] for request in wan_emulator.requests()] == [3, 4]


@pytest.mark.parametrize(
    "head",
    [
        b"GET /result/x.mp4?Signature=%s&Expires=%s HTTP/1.1\r\nHost: x" % (b"a", b"9" * 5000),
        b"GET /result/x.mp4?Signature=a HTTP/1.1\r\nHost: x\r\nRange: bytes=%s-" % (b"9" * 5000),
        b"GET /v1/tasks/%00%ff%ed%a0%80 HTTP/1.1\r\nHost: x",
        b"GET /v1/tasks/x HTTP/1.1\r\nHost: [",
        b"GET /api/v1/uploads?action=getPolicy&model=x HTTP/1.1\r\nHost: [\x00",
        b"GET /api/v1/tasks/?page_no=%s&start_time=99999999999999 HTTP/1.1\r\nHost: x" % (b"9" * 5000),
        b"GET /api/v1/tasks/?page_size=%s HTTP/1.1\r\nHost: x" % (b"9" * 4000),
        b"GET /api/v1/tasks/?start_time=00010101000000&end_time=00010101000000 HTTP/1.1\r\nHost: x",
    ],
)
def test_a_bad_head_is_refused(http: httpx.Client, wan_emulator: RunningEmulator, head: bytes) -> None:
    address = urlsplit(wan_emulator.base_url)
    with socket.create_connection((str(address.hostname), int(address.port or 0)), timeout=10) as connection:
        connection.sendall(head + b"\r\nAuthorization: Bearer sk-a\xe9b\r\nConnection: close\r\n\r\n")
        answer = b""
        while piece := connection.recv(65536):
            answer += piece

    assert int(answer.split()[1]) < 500, answer
    assert is_well(http)


class TestMedia:
    """What a media host sends to the emulator."""

    def fetch(self, host: FileHost) -> bytes:
        item = MediaItem("first_frame", host.url("/frame.png"))
        return media.Fetcher(GatewayName.DASHSCOPE, ()).fetch(item)

    def test_nothing_is_unpacked(self, host: FileHost) -> None:
        packed = gzip.compress(bytes(10_000_000))
        host.serves("/frame.png", 200, packed, Content_Encoding="gzip")

        assert self.fetch(host) == packed

    def test_a_file_that_comes_too_slowly_is_given_up(self, host: FileHost, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(media, "_LONGEST_FETCH_S", 0.0)
        host.serves("/frame.png", 200, b"x")

        with pytest.raises(media.MediaFailedError, match="timed out"):
            self.fetch(host)

    def test_redirects_come_to_an_end(self, host: FileHost) -> None:
        host.redirects("/frame.png", "/frame.png")

        with pytest.raises(media.MediaFailedError, match="too often"):
            self.fetch(host)

    def test_a_redirect_is_followed(self, host: FileHost) -> None:
        host.redirects("/frame.png", "/other.png")
        host.serves("/other.png", 200, b"x")

        assert self.fetch(host) == b"x"

    def test_a_playlist_opens_no_file_of_this_machine(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "private.wav").write_bytes(tone(3.0))

        with pytest.raises(media.MediaFailedError, match="not a WAV or MP3 file"):
            media.check_audio(b"ffconcat version 1.0\nfile private.wav\n", MediaItem("reference_audio", "x"))
