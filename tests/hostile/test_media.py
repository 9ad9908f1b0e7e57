"""Lies of a media host: nothing is followed inside, little is read, and one video is bought."""

from __future__ import annotations

import itertools
import json
import struct
import zlib
from typing import TYPE_CHECKING, Any

import pytest
from airflow.exceptions import AirflowException
from hostile.answers import (
    KEY,
    MB,
    SIGNATURE,
    UNCLEAN,
    WAN_TASK_ID,
    Answer,
    body,
    endless,
    head,
    malformed,
    raw,
    say,
)
from hostile.server import Act, Kind, Peer
from hostile.test_upload import LOOKS_PRIVATE
from hostile.witness import require, watching
from media_files import noise, tone

from airflow_wan.exceptions import WanError
from airflow_wan.operators.wan import WanSubmitVideoOperator

if TYPE_CHECKING:
    from collections.abc import Callable

    from hostile.server import HostileServer, Request

PNG = noise((640, 360), "PNG")
WAV = tone(3.0)
CREATED = say({"output": {"task_id": WAN_TASK_ID, "task_status": "PENDING"}, "request_id": "r-1"})

BOUGHT, REFUSED = "bought", "refused"
MAX_MEDIA_BYTES = 32 * MB
"""What may be taken of one file, in bytes: 4 MiB are read of it at most, once for each look; the rest are buffers."""


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a look at a file end after 0.8 s; what is inspected costs far less time here."""
    monkeypatch.setattr("airflow_wan.media.web_file.READ_TIMEOUT_S", 0.5)
    monkeypatch.setattr("airflow_wan.media.web_file.MAX_SECONDS", 0.8)


def png_chunk(name: bytes, data: bytes, length: int | None = None) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(name + data))
    return struct.pack(">I", len(data) if length is None else length) + name + data + checksum


def png(width: int, height: int, *chunks: bytes) -> bytes:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks)


def box(name: bytes, content: bytes, size: int | None = None) -> bytes:
    return struct.pack(">I", len(content) + 8 if size is None else size) + name + content


def boxes(depth: int) -> bytes:
    content = b""
    for _ in range(depth):
        content = box(b"moov", content)
    return box(b"ftyp", b"isom\0\0\0\0isom") + content


def in_parts(
    content: bytes, *, start: int | None = None, total: Any = None, status: str = "206 Partial", more: bytes = b""
) -> Act:
    """Answer a Range request, with a lie about where the part starts or how long the file is."""

    def act(peer: Peer) -> None:
        assert peer.request is not None
        first, last = (int(text) for text in peer.request.headers["range"].removeprefix("bytes=").split("-"))
        part = content[first : last + 1] + more
        told = first if start is None else start
        size = len(content) if total is None else total
        raw(head(status, Content_Range=f"bytes {told}-{last}/{size}", Content_Length=len(part)), part)(peer)

    return act


def with_headers(content: bytes, **headers: str) -> Act:
    return body(content, **{"Content_Type": "image/png", **headers})


HOSTS = {
    **dict(malformed(PNG)),
    "a part from elsewhere": in_parts(PNG, start=7),
    "a part of a file of 10^18 bytes": in_parts(PNG, total=10**18),
    "a part of a file of 5,000 digits": in_parts(PNG, total="9" * 5000),
    "a part of an empty file": in_parts(PNG, total=0),
    "a part of a file of unknown size": in_parts(PNG, total="*"),
    "a part of a negative file": in_parts(PNG, total=-5),
    "more than was asked for": in_parts(PNG, more=b"x" * MB),
    "a part under 200": in_parts(PNG, status="200 OK"),
    "416": raw(head("416 Range Not Satisfiable", Content_Range="bytes */5", Content_Length=0)),
    "a part without a range": raw(head("206 Partial Content", Content_Length=5), b"\x89PNG\r"),
    "many parts in one": raw(
        head("206 Partial", Content_Type="multipart/byteranges; boundary=x"), b"--x\r\n\r\n" * 1000
    ),
    "204": raw(head("204 No Content")),
    "a redirect to itself": raw(head("302 Found", Location="")),
    "a redirect in a circle": raw(head("302 Found", Location="?again")),
    "a redirect to a file": raw(head("302 Found", Location="file:///etc/passwd")),
    "a redirect to ftp": raw(head("302 Found", Location="ftp://127.0.0.1/a.png")),
    "a redirect to data": raw(head("302 Found", Location="data:image/png;base64,AAAA")),
    "a redirect to no URL": raw(head("302 Found", Location="http://[::1")),
    "a redirect to no port": raw(head("302 Found", Location="http://127.0.0.1:99999/")),
    "a redirect of 60 kB": raw(head("302 Found", Location="/media/" + "x" * 60_000)),
    "a redirect with a line break": raw(b"HTTP/1.1 302 Found\r\nLocation: /media/a\x0bX-Injected:%20yes\r\n\r\n"),
    "a redirect with bytes": raw(b"HTTP/1.1 302 Found\r\nLocation: /media/\xff\xfe\xe9\r\n\r\n"),
    "a redirect with a password": raw(
        head("302 Found", Location=f"http://u:pa55w0rd@127.0.0.1:1/?Signature={SIGNATURE}")
    ),
    "a page": body(b"<!DOCTYPE html><html>log in</html>", Content_Type="text/html"),
    "401 with a challenge": raw(head("401 Unauthorized", 'WWW-Authenticate: Basic realm="x"', Content_Length=0)),
    "a redirect with a body without end": endless(
        head("302 Found", Location="?x"), lambda: itertools.repeat(b"x" * 64_000)
    ),
    "an error with a body without end": endless(head("500 Oops"), lambda: itertools.repeat(b"x" * 64_000)),
    **{
        f"an ETag with {name}": with_headers(
            PNG, ETag=f'"{text.encode("utf-8", "replace").decode()}"'.replace("\n", " ").replace("\r", " ")
        )
        for name, text in UNCLEAN.items()
    },
    "an ETag of 60 kB": with_headers(PNG, ETag='"' + "x" * 60_000 + '"'),
    "a type with the key": with_headers(PNG, Content_Type=f"image/{KEY}"),
}

IMAGES = {
    "an image of 10^9 pixels": png(31_000, 33_000, png_chunk(b"IDAT", zlib.compress(b"x"))),
    "an image of 10^18 pixels": png(2**31 - 1, 2**31 - 1),
    "an image of no pixels": png(0, 0),
    "a chunk of 2 GB": png(640, 360, png_chunk(b"iCCP", b"x", length=2**31 - 1)),
    "a profile that is a bomb": png(640, 360, png_chunk(b"iCCP", b"x\0\0" + zlib.compress(b"\0" * 200 * MB, 9))),
    "a text that is a bomb": png(640, 360, *[png_chunk(b"zTXt", b"x\0\0" + zlib.compress(b"\0" * 60 * MB, 9))] * 20),
    "20,000 chunks": png(640, 360, png_chunk(b"abcd", b"") * 20_000),
    "a JPEG of markers": b"\xff\xd8" + b"\xff\xe1\0\x02" * 200_000,
    "a JPEG of fill bytes": b"\xff\xd8" + b"\xff" * MB,
    "a TIFF that leads to itself": b"II*\0\x08\0\0\0" + b"\0\0" + b"\x08\0\0\0",
    "a TIFF of a million entries": b"II*\0\x08\0\0\0" + b"\xff\xff" + b"\0" * MB,
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n(/etc/passwd) (r) file\n" * 100,
    "SVG": b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><svg>&a;</svg>',
    "an XPM of a million colours": b'/* XPM */\nstatic char *x[] = {\n"99 99 9999999 4",\n' + b'"x",\n' * 100_000,
    "a GIF without end": b"GIF89a\x40\x02\x68\x01\xf7\0\0" + b"!\xfe\x01x\0" * 200_000,
    "an icon of 65,535 pictures": b"\0\0\x01\0\xff\xff" + b"\0" * 16 * 65_535,
    "a WEBP of a lie": b"RIFF\xff\xff\xff\xffWEBPVP8X" + b"\xff" * 100,
    "a script": b"#!/bin/sh\nrm -rf /\n",
    "a password file": b"root:x:0:0:root:/root:/bin/bash\n",
    "nothing": b"",
    "a BMP of a lie": b"BM" + b"\xff" * 200,
    "a film in place of an image": boxes(3),
}
SOUNDS = {
    "a WAV of 4 GB": b"RIFF\xff\xff\xff\xff" + WAV[8:40] + b"\xff\xff\xff\xff",
    "a WAV of no rate": b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0data\0\0\0\0",
    "a WAV of a million chunks": b"RIFF\xff\xff\xff\xffWAVE" + b"abcd\0\0\0\0" * 400_000,
    "a WAV whose chunk is as long as all": b"RIFF\xff\xff\xff\xffWAVEfmt \xff\xff\xff\xff" + b"\0" * 1000,
    "an MP3 with a tag of 256 MB": b"ID3\x04\0\0\x7f\x7f\x7f\x7f" + b"\0" * 1000,
    "an MP3 with a million frames": b"ID3\x04\0\0\x01\x7f\x7f\x7f" + b"TXXX\0\0\0\x01\0\0\0" * 300_000,
    "an MP3 of 0xff": b"\xff\xfb" * 500_000,
    "an OGG without end": b"OggS" * 1_000_000,
    "a FLAC of a lie": b"fLaC\x80\xff\xff\xff" + b"\xff" * 1000,
    "boxes nested 20,000 deep": boxes(20_000),
    "a box of no size": box(b"ftyp", b"isom") + box(b"moov", b"", size=0),
    "a box of size 1": box(b"ftyp", b"isom") + box(b"moov", b"\0" * 8, size=1) + b"\0" * 100,
    "a box that is as long as 2^64": box(b"ftyp", b"isom") + b"\0\0\0\x01moov" + b"\xff" * 8,
    "a million boxes": box(b"ftyp", b"isom") + box(b"free", b"") * 400_000,
    "an image in place of a sound": PNG,
    "nothing": b"",
}


def answers(acts: dict[str, Act], *expect: str) -> list[Answer]:
    return [Answer(name, act, expect) for name, act in acts.items()]


FRAMES = answers(
    HOSTS | {name: body(content, Content_Type="image/png") for name, content in IMAGES.items()}, BOUGHT, REFUSED
)
VOICES = answers({name: body(content, Content_Type="audio/wav") for name, content in SOUNDS.items()}, BOUGHT, REFUSED)


def submit(runner: Any, frame: str, voice: str | None = None) -> Any:
    media = [{"type": "first_frame", "url": frame}]
    media += [{"type": "driving_audio", "url": voice}] if voice else []
    task = WanSubmitVideoOperator(
        task_id="animate", model="wan2.7-i2v", prompt="a kite", media=media, parameters={"duration": 2}
    )
    return runner.run(task)


def by_name(**acts: Act) -> Act:
    """Answer for a media file by its name."""

    def act(peer: Peer) -> None:
        assert peer.request is not None
        acts[peer.request.target.partition("?")[0].rpartition("/")[2].partition(".")[0]](peer)

    return act


def check(seen: Any, server: HostileServer, runner: Any, expect: tuple[str, ...]) -> None:
    require(
        seen,
        ours=(WanError, AirflowException),
        kept=[runner.instance.xcoms, list(map(json.loads, runner.store.rows.values())), seen.result],
    )
    creates = server.count(Kind.CREATE)
    assert (BOUGHT if seen.error is None else REFUSED) in expect
    assert creates == (1 if seen.error is None else 0)
    assert server.count() == creates + server.count(Kind.MEDIA)
    assert server.sent[Kind.MEDIA] <= MAX_MEDIA_BYTES
    for request in server.requests:
        assert _holds_key(request) == (request.kind is Kind.CREATE)
        assert "x-injected" not in request.headers


def _holds_key(request: Request) -> bool:
    return KEY in request.raw.decode("latin-1")


@pytest.mark.parametrize("answer", FRAMES, ids=str)
def test_an_image_host_costs_neither_time_nor_a_second_video(
    answer: Answer, server: HostileServer, connect: Callable[..., None], runner: Any
) -> None:
    connect(server.base_url)
    server.on(Kind.MEDIA, answer.act)
    server.on(Kind.CREATE, CREATED)

    with watching(server) as seen:
        seen.result = submit(runner, f"{server.base_url}/media/frame.png")

    check(seen, server, runner, answer.expect)


@pytest.mark.parametrize("answer", VOICES, ids=str)
def test_a_sound_host_costs_neither_time_nor_a_second_video(
    answer: Answer, server: HostileServer, connect: Callable[..., None], runner: Any
) -> None:
    connect(server.base_url)
    server.on(Kind.MEDIA, by_name(frame=body(PNG, Content_Type="image/png"), voice=answer.act))
    server.on(Kind.CREATE, CREATED)

    with watching(server) as seen:
        seen.result = submit(runner, f"{server.base_url}/media/frame.png", f"{server.base_url}/media/voice.wav")

    check(seen, server, runner, answer.expect)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        *((host, "302 Found") for host in LOOKS_PRIVATE),
        *(("169.254.169.254", status) for status in ("301 Moved", "303 See Other", "307 Temporary", "308 Permanent")),
    ],
)
def test_preflight_follows_no_redirect_inside(
    host: str, status: str, server: HostileServer, connect: Callable[..., None], runner: Any, internet: Any
) -> None:
    connect("https://dashscope.aliyuncs.com")
    server.on(Kind.MEDIA, raw(head(status, Location=f"https://{host}/media/latest/meta-data/")))
    server.on(Kind.CREATE, CREATED)

    with watching(server) as seen:
        seen.result = submit(runner, "https://media.example/media/frame.png")

    check(seen, server, runner, (BOUGHT, REFUSED))
    assert set(server.hosts) <= {"media.example", "dashscope.aliyuncs.com"}


@pytest.mark.parametrize(
    "location", ["http://media.example/media/frame.png", "http://169.254.169.254/", "//127.0.0.1/"]
)
def test_preflight_follows_no_redirect_to_plain_http_or_inside(
    location: str, server: HostileServer, connect: Callable[..., None], runner: Any, internet: Any
) -> None:
    connect("https://dashscope.aliyuncs.com")
    server.on(Kind.MEDIA, raw(head("302 Found", Location=location)))
    server.on(Kind.CREATE, CREATED)

    with watching(server) as seen:
        seen.result = submit(runner, "https://media.example/media/frame.png")

    check(seen, server, runner, (BOUGHT, REFUSED))
    assert set(server.hosts) <= {"media.example", "dashscope.aliyuncs.com"}


@pytest.mark.parametrize("address", ["169.254.169.254", "127.0.0.1", "10.0.0.5"])
def test_preflight_asks_no_name_that_resolves_inside(
    address: str,
    server: HostileServer,
    connect: Callable[..., None],
    runner: Any,
    internet: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connect("https://dashscope.aliyuncs.com")
    monkeypatch.setenv("NO_PROXY", "inside.example")
    internet["inside.example"] = [address]
    server.on(Kind.MEDIA, raw(head("302 Found", Location=f"https://inside.example:{server.port}/media/x.png")))
    server.on(Kind.CREATE, CREATED)

    with watching(server) as seen:
        seen.result = submit(runner, "https://media.example/media/frame.png")

    check(seen, server, runner, (BOUGHT, REFUSED))
    assert server.count(Kind.MEDIA) <= 2  # each look ends at the redirect
    assert {request.host for request in server.requests} <= {"media.example", "dashscope.aliyuncs.com"}
