"""Lies about a finished video: a whole video or none arrives, it is paid for once, and nothing inside is read."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import zlib
from typing import TYPE_CHECKING, Any

import pytest
from airflow.exceptions import AirflowException
from fastcrc import crc64
from file_host import make_mp4
from hostile.answers import (
    KEY,
    MB,
    SIGNATURE,
    UNCLEAN,
    WAN_TASK_ID,
    body,
    bomb,
    chunked,
    cut,
    drip,
    endless,
    head,
    malformed,
    raw,
    say,
)
from hostile.server import Act, Kind, Peer
from hostile.test_upload import LOOKS_PRIVATE
from hostile.witness import require, watching

from airflow_wan.api.client import tls_context
from airflow_wan.exceptions import WanError
from airflow_wan.operators.wan import WanTextToVideoOperator
from airflow_wan.videos.download import MAX_ATTEMPTS, MAX_ATTEMPTS_WITHOUT_PROGRESS, download

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hostile.server import HostileServer

CREATED = say({"output": {"task_id": WAN_TASK_ID, "task_status": "PENDING"}, "request_id": "r-1"})
QUERY = f"?Expires=9999999999&OSSAccessKeyId=LTAIxyz&Signature={SIGNATURE}"
DELIVERED, FAILED = "delivered", "failed"
MAX_VIDEO_BYTES = 128 * MB
"""What may be taken of a video over all attempts, in bytes: the greatest answer here has 20 MB."""

MAX_CPU_S = 6.0
"""CPU time that a download may take over all attempts, in seconds: some answers bring it byte by byte."""


def succeeded(url: Any, **fields: Any) -> Act:
    output = {"task_id": WAN_TASK_ID, "task_status": "SUCCEEDED", "video_url": url}
    return say({"request_id": "r-1", "output": output, "usage": {"duration": 1}, **fields})


def stored(content: bytes, **told: str | int) -> Act:
    """Answer as an object store does: the whole object, or the end of it that was asked for."""

    def act(peer: Peer) -> None:
        assert peer.request is not None
        wanted = peer.request.headers.get("range")
        if wanted is None or "ETag" not in told:
            raw(head(Content_Type="video/mp4", Content_Length=len(content), **told), content)(peer)
            return
        start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        part = f"bytes {start}-{len(content) - 1}/{len(content)}"
        raw(
            head("206 Partial Content", Content_Range=part, Content_Length=len(content) - start, **told),
            content[start:],
        )(peer)

    return act


def in_turn(*acts: Act) -> Act:
    """Answer by each act in turn, and by the last one from then on."""
    left = list(acts)

    def act(peer: Peer) -> None:
        (left.pop(0) if len(left) > 1 else left[0])(peer)

    return act


def breaks(content: bytes, at: int, **told: str | int) -> Act:
    return cut(head(Content_Type="video/mp4", Content_Length=len(content), **told) + content[:at])


def lies(film: bytes) -> dict[str, tuple[Act, tuple[str, ...]]]:
    """Return what a file host may say about a film, and what may come of it."""
    size, half = len(film), len(film) // 2
    etag = '"a"'
    other = bytes(reversed(film))
    crc = crc64.xz(film)
    either, never = (DELIVERED, FAILED), (FAILED,)
    rest = film[half:]

    def continued(
        status: str = "206 Partial Content", part: str | None = None, content: bytes = rest, **told: str
    ) -> Act:
        told = {"ETag": etag, **told}
        span = {"Content_Range": part or f"bytes {half}-{size - 1}/{size}"} if part != "" else {}
        return in_turn(
            breaks(film, half, ETag=etag),
            raw(head(status, **span, **told, Content_Length=len(content)), content),
        )

    return {
        **{name: (act, either) for name, act in malformed(film)},
        # A film may be as large as these answers of a gateway may not.
        "a body of 100 MB": (
            endless(head(Content_Length=10 * MB) + film, lambda: itertools.repeat(b" " * 64_000), 10 * MB),
            either,
        ),
        "a body without end": (endless(head() + film, lambda: itertools.repeat(b" " * 64_000), 10 * MB), either),
        "chunks of 100 MB": (
            endless(
                head(Transfer_Encoding="chunked"),
                lambda: itertools.repeat(b"fa00\r\n" + b" " * 64_000 + b"\r\n"),
                10 * MB,
            ),
            never,
        ),
        "empty chunks of one byte without end": (
            endless(head(Transfer_Encoding="chunked"), lambda: itertools.repeat(b"1\r\n \r\n" * 2000), MB // 4),
            never,
        ),
        "a whole film": (stored(film, ETag=etag), (DELIVERED,)),
        "a film that breaks once": (in_turn(breaks(film, half, ETag=etag), stored(film, ETag=etag)), (DELIVERED,)),
        "a length that is too great, again and again": (body(film, Content_Length=size + 7), never),
        "a length that is too small": (body(film, Content_Length=half), never),
        "a length of 0": (body(b""), never),
        "a length of 10^18": (endless(head(Content_Length=10**18), lambda: itertools.repeat(film), 4 * MB), never),
        "a length of another script": (raw(head("200 OK", "Content-Length: ٣"), film), either),
        "another checksum": (stored(film, x_oss_hash_crc64ecma=crc ^ 1), never),
        "a checksum of 400 digits": (stored(film, x_oss_hash_crc64ecma="9" * 400), either),
        "a checksum of letters": (stored(film, x_oss_hash_crc64ecma="abc"), either),
        "another MD5": (stored(film, Content_MD5=base64.b64encode(bytes(16)).decode()), never),
        "an MD5 of 60 kB": (stored(film, Content_MD5="A" * 60_000), either),
        "an ETag of 60 kB": (in_turn(breaks(film, half, ETag=f'"{"x" * 60_000}"'), stored(film, ETag=etag)), either),
        "an ETag with a quote within": (
            in_turn(breaks(film, half, ETag='"a\\"b"'), stored(film, ETag='"a\\"b"')),
            either,
        ),
        "a date in place of an ETag": (
            in_turn(breaks(film, half, Last_Modified="x\ty"), stored(film, Last_Modified="x\ty")),
            either,
        ),
        "the rest of another file": (continued(content=other[half:], ETag='"b"'), either),
        "the rest of another file under the same ETag": (
            in_turn(
                breaks(film, half, ETag=etag, x_oss_hash_crc64ecma=crc),
                raw(
                    head(
                        "206 Partial",
                        Content_Range=f"bytes {half}-{size - 1}/{size}",
                        Content_Length=len(rest),
                        ETag=etag,
                    ),
                    other[half:],
                ),
            ),
            either,
        ),
        "the rest from elsewhere": (continued(part=f"bytes 0-{size - 1}/{size}"), either),
        "the rest of a longer file": (continued(part=f"bytes {half}-{size + 6}/{size + 7}"), either),
        "the rest of an endless file": (continued(part=f"bytes {half}-{size - 1}/{'9' * 5000}"), either),
        "the rest without a range": (continued(part=""), either),
        "the rest of letters": (continued(part="bytes a-b/c"), either),
        "the rest in negative numbers": (continued(part=f"bytes -{half}-5/{size}"), either),
        "more than the rest": (continued(content=rest + b"x" * 1000), either),
        "the rest under 200": (continued(status="200 OK"), never),
        "the rest is gone": (in_turn(breaks(film, half, ETag=etag), raw(head("416 No", Content_Length=0))), never),
        "a part that was not asked for": (
            raw(head("206 Partial", Content_Range=f"bytes 0-{size - 1}/{size}"), film),
            never,
        ),
        "no progress": (breaks(film, 0, ETag=etag), never),
        "one byte a connection": (breaks(film, 1, ETag=etag), never),
        "one more byte each time": (one_more_each_time(film), never),
        "a film that changes all the time": (changes_all_the_time(film), never),
        "a gzip bomb": (bomb(film), never),
        "a film in gzip": (body(zlib.compress(film, wbits=31), Content_Encoding="gzip"), never),
        "a page": (body(b"<html>log in</html>", Content_Type="text/html"), never),
        "a page in place of a film": (body(b"<html>log in</html>", Content_Type="video/mp4"), never),
        "a password file": (body(b"root:x:0:0:root:/root:/bin/bash\n" * 100, Content_Type="video/mp4"), never),
        "a playlist": (body(b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", Content_Type="video/mp4"), never),
        "a header of a film alone": (body(film[:400], Content_Type="video/mp4"), never),
        "a film of boxes alone": (body(b"\0\0\0\x10ftypisom\0\0\0\0" + b"\0\0\0\x08free" * 300_000), never),
        "a film of boxes in boxes": (body(b"\0\0\0\x10ftypisom\0\0\0\0" + deep_boxes(20_000)), never),
        "a film whose box is as long as 2^64": (body(b"\0\0\0\x10ftypisom\0\0\0\0\0\0\0\x01moov" + b"\xff" * 8), never),
        "403": (body(b"<Code>AccessDenied</Code>", "403 Forbidden"), never),
        "404": (body(b"<Code>NoSuchKey</Code>", "404 Not Found"), never),
        "410 with a body without end": (endless(head("410 Gone"), lambda: itertools.repeat(b"x" * 64_000)), never),
        "500 with a body that drips": (drip(head("500 Oops"), lambda: itertools.repeat(b"x")), never),
        "503 with a pause without end": (raw(head("503 Wait", Retry_After="inf", Content_Length=0)), never),
        "503 with a pause of NaN": (raw(head("503 Wait", Retry_After="nan", Content_Length=0)), never),
        "429 with a pause of 400 digits": (raw(head("429 Wait", Retry_After="9" * 400, Content_Length=0)), never),
        "a code with colours": (body(b"<Code>\x1b[31mX\nFORGED LINE</Code>", "400 Bad"), never),
        "a code that is the signature": (body(f"<Code>{SIGNATURE}</Code>".encode(), "418 Teapot"), either),
        "204": (raw(head("204 No Content")), never),
        "304": (raw(head("304 Not Modified")), never),
        "401 with a challenge": (
            raw(head("401 Unauthorized", 'WWW-Authenticate: Basic realm="x"', Content_Length=0)),
            never,
        ),
        "a redirect to itself": (raw(head("302 Found", Location="")), never),
        "a redirect in a circle": (raw(head("302 Found", Location="?again")), never),
        "a redirect of a film with a body without end": (
            endless(head("302 Found", Location="?again"), lambda: itertools.repeat(b"x" * 64_000)),
            never,
        ),
        "a redirect to a file": (raw(head("302 Found", Location="file:///etc/passwd")), never),
        "a redirect to data": (raw(head("302 Found", Location="data:video/mp4;base64,AAAA")), never),
        "a redirect to no URL": (raw(head("302 Found", Location="http://[::1")), never),
        "a redirect to the gateway": (raw(head("307 Found", Location=f"/api/v1/tasks/{WAN_TASK_ID}")), never),
        "a redirect to a create": (
            raw(head("307 Found", Location="/api/v1/services/aigc/video-generation/video-synthesis")),
            never,
        ),
        "a redirect with a password": (
            raw(head("302 Found", Location=f"http://u:pa55w0rd@127.0.0.1:1/{QUERY}")),
            never,
        ),
        "a film without a length": (raw(head(Content_Type="video/mp4"), film), either),
        "a film in chunks": (chunked(film), (DELIVERED,)),
        "a film in chunks of a byte": (chunked(*(film[i : i + 1] for i in range(2000)), film[2000:]), either),
        "chunks that are cut at a seam": (chunked(film[:half], end=b""), never),
    }


def one_more_each_time(film: bytes) -> Act:
    """Send one byte more on each connection, without a way to go on: more and more is read for nothing."""
    counts = itertools.count(1)
    return lambda peer: breaks(film, next(counts))(peer)  # noqa: PLW0108 - another answer each time


def changes_all_the_time(film: bytes) -> Act:
    counts = itertools.count()
    return lambda peer: breaks(film, len(film) // 2, ETag=f'"{next(counts)}"')(peer)  # noqa: PLW0108


def deep_boxes(depth: int) -> bytes:
    content = b""
    for _ in range(depth):
        content = (len(content) + 8).to_bytes(4, "big") + b"moov" + content
    return content


@pytest.fixture(scope="session")
def film() -> bytes:
    """Return the film that is ordered here: two seconds of 720P, with sound."""
    return make_mp4(seconds=2.0, size=(1280, 720))


def generate(runner: Any, path: Path, **arguments: Any) -> Any:
    task = WanTextToVideoOperator(
        task_id="animate",
        prompt="a kite",
        duration=2,
        output_path=str(path),
        deferrable=False,
        poll_interval=0.02,
        **arguments,
    )
    return runner.run(task)


def check(seen: Any, server: HostileServer, runner: Any, path: Path) -> None:
    """Whatever happened: one create, no key for the file host, nothing half-finished, nothing unclean."""
    records = [
        json.loads(text) for text in (*runner.store.rows.values(), *(f.read_text() for f in path.parent.glob("*.json")))
    ]
    require(
        seen, ours=(WanError, AirflowException), kept=[runner.instance.xcoms, records, seen.result], cpu_s=MAX_CPU_S
    )
    assert server.count(Kind.CREATE) == server.count(method="POST") == 1
    for request in server.requests:
        assert KEY not in request.raw.decode("latin-1") or request.kind in (Kind.CREATE, Kind.POLL)
    assert {file.name for file in path.parent.iterdir()} <= {path.name, f"{path.name}.json", "film.rejected.mp4"}


NAMES = list(lies(b"\0" * 5000))


@pytest.mark.parametrize("name", NAMES)
def test_a_whole_film_or_none_comes_from_a_file_host(
    name: str,
    film: bytes,
    server: HostileServer,
    connect: Callable[..., None],
    runner: Any,
    tmp_path: Path,
) -> None:
    act, expect = lies(film)[name]  # anew: some answers count
    connect(server.base_url)
    server.on(Kind.CREATE, CREATED)
    server.on(Kind.POLL, succeeded(f"{server.base_url}/video/a.mp4{QUERY}"))
    server.on(Kind.VIDEO, act)
    path = tmp_path / "film.mp4"

    with watching(server) as seen:
        seen.result = generate(runner, path)

    check(seen, server, runner, path)
    assert (DELIVERED if seen.error is None else FAILED) in expect
    assert path.exists() == (seen.error is None)
    if path.exists():
        assert hashlib.sha256(path.read_bytes()).digest() == hashlib.sha256(film).digest()
    assert server.count(Kind.VIDEO) <= 4 * MAX_ATTEMPTS_WITHOUT_PROGRESS + 2 * MAX_ATTEMPTS
    assert server.sent[Kind.VIDEO] <= MAX_VIDEO_BYTES


def test_an_endless_film_ends_at_the_greatest_size(server: HostileServer, tmp_path: Path) -> None:
    server.on(Kind.VIDEO, endless(head(Content_Type="video/mp4"), lambda: itertools.repeat(b"x" * 64_000), 100 * MB))

    with watching(server) as seen:
        download(
            lambda: f"{server.base_url}/video/a.mp4{QUERY}",
            tmp_path / "film.mp4",
            tls=tls_context(),
            private_allowed=True,
            max_bytes=5 * MB,
        )

    require(seen)
    assert type(seen.error).__name__ == "TransferFailed"
    assert server.count() == 1
    assert (tmp_path / "film.mp4").stat().st_size <= 5 * MB


URLS: dict[str, Any] = {
    "a file": "file:///etc/passwd",
    "a file of this host": "file://localhost/etc/passwd",
    "ftp": "ftp://files.example/a.mp4",
    "data": "data:video/mp4;base64,AAAA",
    "javascript": "javascript:alert(1)",
    "a path": "/etc/passwd",
    "a relative path": "../../etc/passwd",
    "no scheme": "//files.example/a.mp4",
    "no host": "https:///a.mp4",
    "half an address": "https://[::1",
    "no port": "https://files.example:99999/a.mp4",
    "a bucket": "s3://files/a.mp4",
    "an object of this account": "oss://files/a.mp4",
    "plain http": f"http://files.example/video/a.mp4{QUERY}",
    "a line break": "https://files.example/video/a.mp4\r\nX-Injected: yes",
    "NUL": "https://files.example/video/\0a.mp4",
    "blanks": "  https://files.example /video/a.mp4",
    "half a character": "https://files.example/video/\ud800",
    "a user": f"https://u:pa55w0rd@169.254.169.254/video/a.mp4{QUERY}",
    "a backslash": "https://files.example\\@169.254.169.254/video/a.mp4",
    "64 kB": "https://169.254.169.254/" + "x" * 65_536,
    **{f"{host} as host": f"https://{host}/video/a.mp4{QUERY}" for host in LOOKS_PRIVATE},
    **{f"{host} over http": f"http://{host}/video/a.mp4{QUERY}" for host in LOOKS_PRIVATE[:4]},
}


@pytest.mark.parametrize("name", URLS)
def test_no_video_is_read_from_the_inside(
    name: str, server: HostileServer, connect: Callable[..., None], runner: Any, internet: Any, tmp_path: Path
) -> None:
    connect("https://dashscope.aliyuncs.com")
    server.on(Kind.CREATE, CREATED)
    server.on(Kind.POLL, succeeded(URLS[name]))
    path = tmp_path / "film.mp4"

    with watching(server) as seen:
        seen.result = generate(runner, path)

    check(seen, server, runner, path)
    assert seen.error is not None
    assert not path.exists()
    assert set(server.hosts) <= {"dashscope.aliyuncs.com", "files.example"}


@pytest.mark.parametrize(
    "location",
    [
        *(f"https://{host}/video/a.mp4" for host in LOOKS_PRIVATE),
        "http://169.254.169.254/latest/meta-data/",
        "http://files.example/video/a.mp4",
        "file:///etc/passwd",
        "//10.0.0.5/video/a.mp4",
    ],
)
def test_no_video_is_read_where_a_redirect_leads_inside(
    location: str, server: HostileServer, connect: Callable[..., None], runner: Any, internet: Any, tmp_path: Path
) -> None:
    connect("https://dashscope.aliyuncs.com")
    server.on(Kind.CREATE, CREATED)
    server.on(Kind.POLL, succeeded(f"https://files.example/video/a.mp4{QUERY}"))
    server.on(Kind.VIDEO, raw(head("302 Found", Location=location)))
    path = tmp_path / "film.mp4"

    with watching(server) as seen:
        seen.result = generate(runner, path)

    check(seen, server, runner, path)
    assert seen.error is not None
    assert set(server.hosts) <= {"dashscope.aliyuncs.com", "files.example"}


def test_no_video_is_read_from_a_name_that_resolves_inside(
    server: HostileServer,
    connect: Callable[..., None],
    runner: Any,
    internet: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connect("https://dashscope.aliyuncs.com")
    monkeypatch.setenv("NO_PROXY", "inside.example")
    internet["inside.example"] = ["8.8.8.8", "127.0.0.1"]
    server.on(Kind.CREATE, CREATED)
    server.on(Kind.POLL, succeeded(f"https://inside.example:{server.port}/video/a.mp4{QUERY}"))
    path = tmp_path / "film.mp4"

    with watching(server) as seen:
        seen.result = generate(runner, path)

    check(seen, server, runner, path)
    assert seen.error is not None
    assert server.count(Kind.VIDEO) == 0


@pytest.mark.parametrize("name", UNCLEAN)
def test_what_a_gateway_says_of_a_video_is_clean_where_it_is_kept(
    name: str, film: bytes, server: HostileServer, connect: Callable[..., None], runner: Any, tmp_path: Path
) -> None:
    text = UNCLEAN[name]
    connect(server.base_url)
    server.on(Kind.CREATE, say({"output": {"task_id": WAN_TASK_ID, "task_status": text}, "request_id": text}))
    output = {
        "task_id": WAN_TASK_ID,
        "task_status": "SUCCEEDED",
        "video_url": f"{server.base_url}/video/a.mp4{QUERY}",
        "orig_prompt": text,
        "actual_prompt": text,
        "submit_time": text,
        "end_time": "0001-01-01 00:00:00",
    }
    server.on(
        Kind.POLL, say({"request_id": text, "output": output, "usage": {text: text, "duration": text}, "message": text})
    )
    server.on(Kind.VIDEO, stored(film))
    path = tmp_path / "film.mp4"

    with watching(server) as seen:
        seen.result = generate(runner, path)

    check(seen, server, runner, path)
    assert path.read_bytes() == film
    json.loads((tmp_path / "film.mp4.json").read_text())


TRIFLES: dict[str, Any] = {
    "a time of the year 1": {"output": {"submit_time": "0001-01-01 00:00:00.000"}},
    "a time of the year 9999": {"output": {"end_time": "9999-12-31T23:59:59-23:59"}},
    "a time of numbers": {"output": {"scheduled_time": 10**30}},
    "a usage nested 400 deep": {"usage": json.loads('{"a":' * 400 + "1" + "}" * 400)},
    "a usage of a list": {"usage": [1, 2]},
    "a usage of texts": {"usage": {"duration": "long", "SR": "high", "ratio": []}},
    "a usage of 400 digits": {"usage": {"duration": int("9" * 400), "SR": int("9" * 400)}},
    "a negative usage": {"usage": {"duration": -5, "SR": -720, "video_count": -1}},
    "a prompt of a list": {"output": {"orig_prompt": ["x"], "actual_prompt": {"a": 1}}},
    "a request id of 5 kB": {"request_id": "r" * 5000},
    "a thousand names in usage": {"usage": {str(number): number for number in range(1000)}},
}


@pytest.mark.parametrize("name", TRIFLES)
def test_a_trifle_keeps_no_video_from_its_path(
    name: str, film: bytes, server: HostileServer, connect: Callable[..., None], runner: Any, tmp_path: Path
) -> None:
    connect(server.base_url)
    server.on(Kind.CREATE, CREATED)
    fields = dict(TRIFLES[name])
    output = {
        "task_id": WAN_TASK_ID,
        "task_status": "SUCCEEDED",
        "video_url": f"{server.base_url}/video/a.mp4{QUERY}",
        **fields.pop("output", {}),
    }
    server.on(Kind.POLL, say({"request_id": "r", "output": output, **fields}))
    server.on(Kind.VIDEO, stored(film))
    path = tmp_path / "film.mp4"

    with watching(server) as seen:
        seen.result = generate(runner, path)

    check(seen, server, runner, path)
    assert seen.error is None
    assert path.read_bytes() == film
