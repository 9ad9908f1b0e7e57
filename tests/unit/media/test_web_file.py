"""Headers of files on hosts of every kind: what is requested, how much is read, and what cannot be inspected."""

from __future__ import annotations

import gzip
import io
import logging
import random
import time
from typing import TYPE_CHECKING, Any

import pytest
from media_files import image, noise

from airflow_wan.exceptions import MediaUnreadable
from airflow_wan.media import web_file
from airflow_wan.media.bounded import BLOCK_BYTES, MAX_BYTES
from airflow_wan.media.probing import probe_image
from airflow_wan.media.web_file import WebFile

if TYPE_CHECKING:
    from collections.abc import Callable
    from http.server import BaseHTTPRequestHandler


@pytest.fixture
def web(tls: Any) -> Callable[[str], WebFile]:
    """Makes a file from its URL."""
    return lambda url: WebFile(url, tls=tls.client, private_allowed=True)


def serves_ranges(host: Any, path: str, content: bytes, **headers: str) -> None:
    """Answer as a file host does that knows Range."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        first, _, last = handler.headers["Range"].removeprefix("bytes=").partition("-")
        part = content[int(first) : int(last) + 1]
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes {first}-{int(first) + len(part) - 1}/{len(content)}")
        handler.send_header("Content-Length", str(len(part)))
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.wfile.write(part)

    host.answers[path] = answer


# Hosts that answer Range requests ------------------------------------------------------------------------------------


def test_a_file_is_read_by_parts(host: Any, web: Callable[[str], WebFile]) -> None:
    content = random.Random(2).randbytes(5_000_000)
    serves_ranges(host, "/a", content, ETag='"abc"')
    opened = web(host.url("/a"))

    file = opened.open()
    parts = [(file.seek(at), file.read(100_000))[1] for at in (0, 4_900_000, 65_000)]

    assert parts == [content[at : at + 100_000] for at in (0, 4_900_000, 65_000)]
    assert opened.etag == "abc"
    assert len(host.requests) == 5  # block 0, 1 and 2 together, 74, 75 and 76 together, 1 again


def test_no_key_is_sent_along(host: Any, web: Callable[[str], WebFile]) -> None:
    serves_ranges(host, "/a", b"content")

    web(host.url("/a")).open()

    assert "authorization" not in host.requests[0][1]


def test_a_weak_etag_does_not_identify_the_content(host: Any, web: Callable[[str], WebFile]) -> None:
    serves_ranges(host, "/a", b"content", ETag='W/"abc"')
    opened = web(host.url("/a"))

    opened.open()

    assert opened.etag is None


def test_bytes_are_bounded(host: Any, web: Callable[[str], WebFile]) -> None:
    serves_ranges(host, "/a", bytes(2 * MAX_BYTES))

    with pytest.raises(MediaUnreadable, match="bytes"):
        web(host.url("/a")).open().read()

    asked = [headers["range"].removeprefix("bytes=").split("-") for _, headers in host.requests]
    assert sum(int(last) - int(first) + 1 for first, last in asked) <= MAX_BYTES + 1024 * 1024


def test_what_is_read_from_one_block_to_the_next_takes_few_requests(host: Any, web: Callable[[str], WebFile]) -> None:
    content = random.Random(2).randbytes(1_200_000)
    serves_ranges(host, "/a", content)

    assert web(host.url("/a")).open().read() == content
    assert len(host.requests) == 5  # 64, 128, 256 and 512 kB, and the rest


def test_another_part_than_was_asked_for_is_not_judged(host: Any, web: Callable[[str], WebFile]) -> None:
    host.serves("/a", 206, b"content", Content_Range="bytes 1000-1006/2000")

    with pytest.raises(MediaUnreadable, match="another part"):
        web(host.url("/a")).open()


def test_more_than_was_asked_for_is_not_judged(host: Any, web: Callable[[str], WebFile]) -> None:
    host.serves("/a", 206, bytes(BLOCK_BYTES + 1), Content_Range=f"bytes 0-{BLOCK_BYTES}/{MAX_BYTES}")

    with pytest.raises(MediaUnreadable, match="more than was asked for"):
        web(host.url("/a")).open()


def test_redirects_are_followed(host: Any, web: Callable[[str], WebFile]) -> None:
    host.redirects("/old", "/new")
    serves_ranges(host, "/new", b"content")

    assert web(host.url("/old")).open().read() == b"content"


# Hosts that ignore Range ---------------------------------------------------------------------------------------------


def test_a_host_that_ignores_range_is_read_from_the_beginning(host: Any, web: Callable[[str], WebFile]) -> None:
    content = noise((1500, 1500), "PNG")
    host.serves("/a", 200, content)

    facts = probe_image(web(host.url("/a")).open())

    assert (facts.width, facts.bytes) == (1500, len(content))
    assert len(content) > MAX_BYTES
    assert len(host.requests) == 1


def test_of_such_a_host_no_more_than_the_bound_is_read(host: Any, web: Callable[[str], WebFile]) -> None:
    host.serves("/a", 200, bytes(MAX_BYTES + 2_000_000))
    opened = web(host.url("/a"))
    file = opened.open()
    file.seek(-10, io.SEEK_END)

    with pytest.raises(MediaUnreadable, match="Range"):
        file.read(10)

    assert len(opened._beginning) <= MAX_BYTES


def test_a_file_of_unknown_size_is_read_only_if_it_is_small(host: Any, web: Callable[[str], WebFile]) -> None:
    host.serves("/small", 200, image(), announced=-1)
    host.serves("/large", 200, bytes(MAX_BYTES + 1), announced=-1)

    assert probe_image(web(host.url("/small")).open()).bytes == len(image())
    with pytest.raises(MediaUnreadable, match="size"):
        web(host.url("/large")).open()


def test_a_connection_that_ends_early_says_nothing_about_the_file(host: Any, web: Callable[[str], WebFile]) -> None:
    host.serves("/a", 200, image()[:20], announced=len(image()))

    with pytest.raises(MediaUnreadable, match=f"{len(image())} bytes"):
        probe_image(web(host.url("/a")).open())


# What cannot be inspected --------------------------------------------------------------------------------------------


def test_time_is_bounded(host: Any, web: Callable[[str], WebFile], monkeypatch: pytest.MonkeyPatch) -> None:
    def trickle(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        for _ in range(1000):
            handler.wfile.write(b"x")
            time.sleep(0.02)

    host.answers["/a"] = trickle
    monkeypatch.setattr(web_file, "MAX_SECONDS", 0.2)
    began = time.monotonic()

    with pytest.raises(MediaUnreadable, match=r"more than 0\.2 s"):
        web(host.url("/a")).open()

    assert time.monotonic() - began < 5


def test_a_host_that_falls_silent_is_given_up_soon(
    host: Any, web: Callable[[str], WebFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    host.answers["/a"] = lambda _: time.sleep(0.5)
    monkeypatch.setattr(web_file, "READ_TIMEOUT_S", 0.05)

    with pytest.raises(MediaUnreadable, match="TimeoutError"):
        web(host.url("/a")).open()


@pytest.mark.parametrize("status", [401, 403, 404, 416, 500, 302])
def test_an_answer_without_the_file_says_nothing_about_it(
    host: Any, web: Callable[[str], WebFile], status: int
) -> None:
    host.serves("/a", status, b"sorry")

    with pytest.raises(MediaUnreadable, match=str(status)):
        web(host.url("/a")).open()


@pytest.mark.parametrize(
    ("body", "kind"), [(b"please log in", "text/html; charset=utf-8"), (b"\n<!DOCTYPE HTML><html>", "image/png")]
)
def test_a_web_page_is_not_the_file(host: Any, web: Callable[[str], WebFile], body: bytes, kind: str) -> None:
    host.serves("/a", 200, body, Content_Type=kind)

    with pytest.raises(MediaUnreadable, match="web page"):
        web(host.url("/a")).open()


def test_a_file_that_comes_compressed_is_not_judged(host: Any, web: Callable[[str], WebFile]) -> None:
    host.serves("/a", 200, gzip.compress(image()), Content_Encoding="gzip")

    with pytest.raises(MediaUnreadable, match="compress"):
        web(host.url("/a")).open()


def test_a_connection_that_breaks_says_nothing_about_the_file(host: Any, web: Callable[[str], WebFile]) -> None:
    host.breaks_off("/a", b"begin", 1000)

    with pytest.raises(MediaUnreadable, match="ConnectionResetError"):
        web(host.url("/a")).open()


@pytest.mark.parametrize("address", ["https://127.0.0.1:1/a", "https://no-such-host.invalid/a"])
def test_a_host_that_cannot_be_reached_is_given_up_soon_and_the_signature_is_not_shown(
    web: Callable[[str], WebFile], address: str
) -> None:
    with pytest.raises(MediaUnreadable) as raised:
        web(f"{address}?Signature=TOPSECRET").open()

    assert "TOPSECRET" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_no_log_line_shows_the_signature(
    host: Any, web: Callable[[str], WebFile], caplog: pytest.LogCaptureFixture
) -> None:
    host.redirects("/old", "/new?Signature=TOPSECRET")
    serves_ranges(host, "/new", b"content")

    with caplog.at_level(logging.DEBUG):
        web(host.url("/old")).open()

    assert "TOPSECRET" not in caplog.text


# Where a file may be -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "[::1]"])
def test_a_private_address_is_not_contacted(tls: Any, address: str) -> None:
    opened = WebFile(f"https://{address}/a?Signature=TOPSECRET", tls=tls.client, private_allowed=False)

    with pytest.raises(MediaUnreadable, match="in a private network") as raised:
        opened.open()

    assert "TOPSECRET" not in str(raised.value)


def test_a_redirect_to_a_private_address_is_not_followed(
    tls: Any, tls_hosts: Callable[[], Any], proxied: Callable[[Any], Any]
) -> None:
    public, private = tls_hosts(), tls_hosts()
    proxied(public)
    public.redirects("/a", private.url("/b"))

    with pytest.raises(MediaUnreadable, match=r"host 127\.0\.0\.1, .*private network"):
        WebFile("https://files.example/a", tls=tls.client, private_allowed=False).open()

    assert len(public.requests) == 1
    assert private.requests == []
