"""Answers that no honest server sends, as bytes on the wire."""

from __future__ import annotations

import gzip
import itertools
import json
import zlib
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from hostile.server import Act, Peer

MB = 1024 * 1024

LONG_S = 10.0
"""Seconds for which a server drips or says nothing."""

TINY_BYTES = 4 * MB
"""How much is sent in pieces of a few bytes each: enough to cost seconds of a careless reader's CPU time."""

KEY = "Zq8.hunter2-gateway_key~77"
"""The API key of these tests. It does not begin with `sk-`, so only who knows it can hide it."""

SIGNATURE = "T0pSecretSignature"
"""What signs the URLs of these tests."""

WAN_TASK_ID = "0385dc79-5ff8-4d82-bcb6-7e1c5b2a4a10"
OTHER_TASK_ID = "99999999-aaaa-4bbb-8ccc-dddddddddddd"

FORGED = "FORGED LINE"
UNCLEAN = {
    "NUL": "a\0b",
    "half an emoji": "half \ud83d of one",
    "the other half": "half \ude00 of one",
    "colours of a terminal": "\x1b[31mred\x1b[0m \x1b]0;title\x07 \x9b31m",
    "a forged line of a log": f"x\n{FORGED}\r{FORGED}\u2028{FORGED}\x0b{FORGED}\x85{FORGED}",
    "text from right to left": "abc\u202egnp.exe\u2066\u2069\u200f",
    "characters that show nothing": "a\u200b\u2060\ufeff\u00adb",
    "what is no character": "a\ufffe\uffff\U0010ffff",
    "the key": f"Incorrect API key provided: {KEY}. Bearer {KEY}",
    "a signed URL": f"see https://u:pa55w0rd@files.example/a.mp4?Signature={SIGNATURE}&Expires=1",
}
"""Text that must not reach a log, a database or a terminal as it is."""


@dataclass(frozen=True)
class Answer:
    """One lie and what must become of it.

    :param name: what it is, for the name of the test.
    :param act: what the server does.
    :param expect: the outcomes that are allowed: names of classes, of the result or of the error.
    """

    name: str
    act: Act
    expect: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.name


def raw(*pieces: bytes) -> Act:
    """Send these bytes and close the connection."""
    return lambda peer: peer.stream(pieces)


def endless(head: bytes, pieces: Callable[[], Iterable[bytes]], most_bytes: int = 40 * MB) -> Act:
    """Send a head, and then pieces until the client has gone, or has taken far more than any client should."""

    def act(peer: Peer) -> None:
        peer.send(head)
        for piece in pieces():
            peer.send(piece)
            if peer.sent_bytes > most_bytes:
                return

    return act


def drip(before: bytes, pieces: Callable[[], Iterable[bytes]], every_s: float = 0.02) -> Act:
    """Send some bytes at once, and then one piece after the other for 10 s: far longer than any timeout here."""

    def act(peer: Peer) -> None:
        peer.send(before)
        peer.drip(itertools.islice(pieces(), int(LONG_S / every_s)), every_s)

    return act


def drip_once(before: bytes, data: bytes) -> Act:
    """Send some bytes at once, others one by one, and then nothing."""

    def act(peer: Peer) -> None:
        peer.send(before)
        peer.drip((b"%c" % byte for byte in data), 0.02)
        silence(peer)

    return act


def silence(peer: Peer) -> None:
    """Say nothing until the client gives up, for at most 10 s."""
    peer.has_left(within_s=LONG_S)


def cut(data: bytes) -> Act:
    """Send these bytes and reset the connection."""

    def act(peer: Peer) -> None:
        peer.send(data)
        peer.reset()

    return act


def head(status: str = "200 OK", *lines: str, **headers: str | int) -> bytes:
    """Return the head of an answer; underscores in names stand for hyphens."""
    told = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    text = "\r\n".join([f"HTTP/1.1 {status}", *told, *lines, "Connection: close", "", ""])
    return text.encode("utf-8", "surrogatepass")


def body(content: bytes, status: str = "200 OK", *lines: str, **headers: str | int) -> Act:
    """Answer with a body of any bytes."""
    told: dict[str, str | int] = {"Content_Type": "application/json", "Content_Length": len(content), **headers}
    return raw(head(status, *lines, **told), content)


def say(value: Any, status: str = "200 OK", *lines: str, **headers: str | int) -> Act:
    """Answer with JSON; half a character is escaped, as JSON allows."""
    return body(json.dumps(value).encode(), status, *lines, **headers)


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n", status: str = "200 OK", **headers: str | int) -> Act:
    """Answer in chunks."""
    framed = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    return raw(head(status, Transfer_Encoding="chunked", **headers), framed + end)


@cache
def zeros(megabytes: int, before: bytes = b"") -> bytes:
    """Return so many megabytes of blanks in gzip: a thousandth of that."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    block = b" " * MB
    return packer.compress(before) + b"".join(packer.compress(block) for _ in range(megabytes)) + packer.flush()


def bomb(before: bytes, megabytes: int = 120) -> Act:
    """Answer with a few hundred kB of gzip that stand for hundreds of MB, although no compression was accepted."""

    def act(peer: Peer) -> None:
        packed = zeros(megabytes, before)
        peer.send(head(Content_Type="application/json", Content_Encoding="gzip", Content_Length=len(packed)))
        peer.send(packed)

    return act


def nested(depth: int, around: bytes = b"%s") -> bytes:
    """Return JSON nested so deep."""
    return around.replace(b"%s", b"[" * depth + b"]" * depth)


def with_value(template: Any, value: bytes) -> bytes:
    """Return JSON with a value that no JSON writer writes in the place of the text `@`."""
    return json.dumps(template).encode().replace(b'"@"', value)


def malformed(genuine: bytes) -> list[tuple[str, Act]]:
    """Return answers that break HTTP: around a body that is what the client hopes for.

    Some clients understand some of them in spite of that; none must crash, hang, or act twice.
    """
    length = f"Content-Length: {len(genuine)}\r\n".encode()
    ok = b"HTTP/1.1 200 OK\r\n"
    return [
        ("closes without a byte", raw()),
        ("resets", cut(b"")),
        ("silence", silence),
        ("half a status line", raw(b"HTTP/1.1 20")),
        ("another protocol", raw(b"SSH-2.0-OpenSSH_9.9\r\n")),
        ("TLS where none is", raw(bytes.fromhex("1503010002022a"))),
        ("bytes of chance", raw(bytes(range(256)) * 4)),
        ("version 9.9", raw(b"HTTP/9.9 200 OK\r\n" + length + b"\r\n" + genuine)),
        ("version 0.9", raw(genuine)),
        ("version 1.0 without a length", raw(b"HTTP/1.0 200 OK\r\n\r\n" + genuine)),
        ("status 42", raw(b"HTTP/1.1 42 OK\r\n" + length + b"\r\n" + genuine)),
        ("status 999", raw(b"HTTP/1.1 999 OK\r\n" + length + b"\r\n" + genuine)),
        ("status -200", raw(b"HTTP/1.1 -200 OK\r\n" + length + b"\r\n" + genuine)),
        ("status of letters", raw(b"HTTP/1.1 2OO OK\r\n" + length + b"\r\n" + genuine)),
        ("status in other digits", raw("HTTP/1.1 ２００ OK\r\n".encode() + length + b"\r\n" + genuine)),
        ("no reason", raw(b"HTTP/1.1 200\r\n" + length + b"\r\n" + genuine)),
        ("a reason of 8 MB", raw(b"HTTP/1.1 200 " + b"x" * 8 * MB + b"\r\n" + length + b"\r\n" + genuine)),
        ("a header without a colon", raw(ok + b"Nonsense\r\n" + length + b"\r\n" + genuine)),
        ("a header name with blanks", raw(ok + b"Bad name : x\r\n" + length + b"\r\n" + genuine)),
        ("a folded header", raw(ok + b"X-A: b\r\n  c\r\n" + length + b"\r\n" + genuine)),
        ("NUL in a header", raw(ok + b"X-A: b\0c\r\n" + length + b"\r\n" + genuine)),
        ("a lone carriage return in a header", raw(ok + b"X-A: b\rX-B: c\r\n" + length + b"\r\n" + genuine)),
        ("lines without carriage return", raw(b"HTTP/1.1 200 OK\n" + length.replace(b"\r", b"") + b"\n" + genuine)),
        ("a header of 8 MB", raw(ok + b"X-A: " + b"x" * 8 * MB + b"\r\n" + length + b"\r\n" + genuine)),
        ("headers without end", endless(ok, lambda: itertools.repeat(b"X-A: " + b"x" * 1000 + b"\r\n"))),
        ("short headers without end", endless(ok, lambda: itertools.repeat(b"a:b\r\n" * 2000), TINY_BYTES)),
        ("head that never ends in one line", endless(b"HTTP/1.1 200 ", lambda: itertools.repeat(b"x" * 64_000))),
        (
            "interim answers without end",
            endless(b"", lambda: itertools.repeat(b"HTTP/1.1 100 Continue\r\n\r\n" * 400), TINY_BYTES),
        ),
        ("interim answers that drip", drip(b"", lambda: itertools.repeat(b"HTTP/1.1 102 Processing\r\n\r\n"))),
        ("another protocol is switched to", raw(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n" + genuine)),
        ("two lengths", raw(ok + length + b"Content-Length: 7\r\n\r\n" + genuine)),
        ("a negative length", raw(ok + b"Content-Length: -5\r\n\r\n" + genuine)),
        ("a length of letters", raw(ok + b"Content-Length: many\r\n\r\n" + genuine)),
        ("a length beyond all numbers", raw(ok + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n" + genuine)),
        ("a length that is too great", raw(ok + b"Content-Length: 999999\r\n\r\n" + genuine)),
        ("a length that is too small", raw(ok + b"Content-Length: 9\r\n\r\n" + genuine)),
        ("length and chunks", raw(ok + length + b"Transfer-Encoding: chunked\r\n\r\n" + genuine)),
        ("a coding that nobody knows", raw(ok + b"Transfer-Encoding: rot13\r\n\r\n" + genuine)),
        ("a chunk size of letters", chunked(end=b"zz\r\n" + genuine)),
        ("a negative chunk size", chunked(end=b"-5\r\n" + genuine)),
        ("a chunk size beyond all numbers", chunked(end=b"f" * 5000 + b"\r\n" + genuine)),
        ("a chunk extension of 8 MB", chunked(end=b"1;" + b"x" * 8 * MB + b"\r\n")),
        ("chunks without an end", chunked(genuine, end=b"")),
        ("a chunk that is cut", chunked(end=b"ffff\r\n" + genuine)),
        (
            "trailers without end",
            endless(
                head(Transfer_Encoding="chunked") + b"0\r\n", lambda: itertools.repeat(b"a:b\r\n" * 2000), TINY_BYTES
            ),
        ),
        (
            "empty chunks of one byte without end",
            endless(head(Transfer_Encoding="chunked"), lambda: itertools.repeat(b"1\r\n \r\n" * 2000), TINY_BYTES),
        ),
        ("two answers in one", raw(ok + length + b"\r\n" + genuine + ok + length + b"\r\n" + genuine)),
        ("cut in the middle of the body", cut(ok + length + b"\r\n" + genuine[: len(genuine) // 2])),
        ("a body that drips", drip_once(ok + length + b"\r\n", genuine[:-1])),
        ("blanks that drip", drip(head(), lambda: itertools.repeat(b" "))),
        ("a header that drips", drip(ok + b"X-A: ", lambda: itertools.repeat(b"x"))),
        ("chunks that drip", drip(head(Transfer_Encoding="chunked"), lambda: itertools.repeat(b"1\r\n \r\n"))),
        ("a body without end", endless(head(), lambda: itertools.repeat(b" " * 64_000))),
        (
            "a body of 100 MB",
            endless(head(Content_Length=100 * MB) + genuine, lambda: itertools.repeat(b" " * 64_000), 100 * MB),
        ),
        (
            "chunks of 100 MB",
            endless(
                head(Transfer_Encoding="chunked"),
                lambda: itertools.repeat(b"fa00\r\n" + b" " * 64_000 + b"\r\n"),
                100 * MB,
            ),
        ),
        ("a gzip bomb", bomb(genuine)),
        ("gzip that is none", body(genuine, Content_Encoding="gzip")),
        ("gzip within gzip", body(gzip.compress(gzip.compress(genuine)), Content_Encoding="gzip, gzip")),
        ("a hundred codings", body(genuine, Content_Encoding=", ".join(["gzip"] * 100))),
        ("a coding of this year", body(genuine, Content_Encoding="br, zstd")),
    ]


def shapes(task_id: str) -> Iterator[tuple[str, Act]]:
    """Yield JSON of shapes that no gateway documents, none of which holds a task."""
    for name, text in {
        "nothing": b"",
        "a list": b"[]",
        "a text": b'"text"',
        "null": b"null",
        "a number": b"12",
        "true": b"true",
        "an empty object": b"{}",
        "lists in place of objects": b'{"output": [], "data": [[]], "result": [1], "error": []}',
        "texts in place of objects": b'{"output": "x", "data": "y", "result": "z", "usage": "u"}',
        "numbers in place of objects": b'{"output": 1, "data": 2.5, "result": true, "error": false}',
        "nulls in place of objects": b'{"output": null, "data": null, "result": null, "error": null}',
        "objects in place of texts": b'{"status": {}, "code": {"a": 1}, "message": {"b": []}, "request_id": {"c": 2}}',
        "lists in place of texts": b'{"status": ["x"], "code": [1], "message": ["m"], "output": {"task_status": []}}',
        "an error within an error": b'{"error": {"message": {"message": "m"}, "code": ["c"], "type": {}, "param": []}}',
        "an error of numbers": b'{"error": 17}',
        "two values": b'{"a": 1}{"a": 2}',
        "a comment": b'/* x */ {"a": 1}',
        "half an object": b'{"output": {"task_',
        "nested 400 deep": nested(400),
        "nested 900 deep": nested(900),
        "nested 100,000 deep": nested(100_000),
        "nested 400 deep in a field": nested(400, b'{"output": %s, "message": %s}'),
        "an opening without end": b"[" * 2_000_000,
        "NaN": b"NaN",
        "bytes of no code": b'{"output": {"task_id": "\xff\xfe\xfa"}}',
        "UTF-16 of half a file": b"\xff\xfe{\0",
        "a page": b"<html><body><h1>502 Bad Gateway</h1>" + task_id.encode() + b"</body></html>",
        "a million fields": b"{" + b",".join(b'"k%d":1' % number for number in range(200_000)) + b"}",
    }.items():
        yield name, body(text)
