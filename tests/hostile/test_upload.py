"""Lies about an upload: a file goes to a store that may have it or nowhere, and the key goes to the gateway alone."""

from __future__ import annotations

import io
import itertools
import json
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from hostile.answers import (
    KEY,
    LONG_S,
    MB,
    SIGNATURE,
    UNCLEAN,
    Answer,
    body,
    chunked,
    drip,
    endless,
    head,
    malformed,
    raw,
    say,
    shapes,
    silence,
    with_value,
)
from hostile.server import Kind, Peer
from hostile.witness import MAX_ANSWER_BYTES, require, watching
from media_files import noise

from airflow_wan.hooks.wan import WanHook

if TYPE_CHECKING:
    from collections.abc import Callable

    from hostile.server import HostileServer

UPLOADED = "str"
"""The outcome of an upload that succeeded: the file's URL."""

LOOKS_PRIVATE = (
    "169.254.169.254",
    "127.0.0.1",
    "10.0.0.5",
    "192.168.1.1",
    "172.16.0.9",
    "100.64.0.1",
    "0.0.0.0",
    "255.255.255.255",
    "localhost",
    "a.localhost",
    "localhost.",
    "2130706433",
    "0x7f.1",
    "0177.0.0.1",
    "127.1",
    "[::1]",
    "[::ffff:10.0.0.5]",
    "[64:ff9b::10.0.0.5]",
    "[fe80::1]",
    "[fd00::1]",
    "①②⑦.0.0.1",
    "127。0。0。1",
)
CONTENT = noise((64, 64), "PNG")


def policy(base_url: str, **fields: Any) -> dict[str, Any]:
    granted = {
        "policy": "cG9saWN5",
        "signature": SIGNATURE,
        "upload_dir": "dashscope-instant/owner/2026-11-25",
        "upload_host": f"{base_url}/store",
        "expire_in_seconds": 300,
        "max_file_size_mb": 100,
        "oss_access_key_id": "LTAIxyz",
        "x_oss_object_acl": "private",
        "x_oss_forbid_overwrite": "true",
    }
    return {"request_id": "r", "data": granted | fields}


def upload(server: HostileServer) -> str:
    with WanHook("wan_default").get_conn() as client:
        return client.upload(io.BytesIO(CONTENT), model="wan2.7-i2v", name="frame.png", size=len(CONTENT))


def expected(seen: Any) -> str:
    return UPLOADED if seen.error is None else "refused"


def check_requests(server: HostileServer) -> None:
    """The key went to the gateway alone, the file to the store alone, once, and nothing followed a redirect."""
    assert server.count() == server.count(Kind.POLICY) + server.count(Kind.UPLOAD)
    assert server.count(Kind.POLICY) == 1
    assert server.count(Kind.UPLOAD) <= 1
    for request in server.requests:
        assert (KEY in request.raw.decode("latin-1")) == (request.kind is Kind.POLICY)
        assert CONTENT not in request.body or request.kind is Kind.UPLOAD
    assert server.sent[Kind.POLICY] <= MAX_ANSWER_BYTES
    assert server.sent[Kind.UPLOAD] <= MAX_ANSWER_BYTES


HERE = "http://server.invalid"
"""The server's address, in answers that are made before its port is known."""


def told(value: Any, status: str = "200 OK", **headers: str) -> Callable[[Peer], None]:
    """Answer with JSON in which `HERE` is the server's address."""

    def act(peer: Peer) -> None:
        text = json.dumps(value).replace(HERE, peer.server.base_url)
        body(text.encode(), status, **headers)(peer)

    return act


POLICIES = [
    *(Answer(name, act, ("refused",)) for name, act in malformed(json.dumps(policy("http://127.0.0.1:1")).encode())),
    *(Answer(name, act, ("refused",)) for name, act in shapes("x")),
    *(
        Answer(f"no {name}", told(policy(HERE, **{name: value})), ("refused",))
        for name in ("policy", "signature", "upload_dir", "upload_host", "oss_access_key_id", "x_oss_object_acl")
        for value in (None,)
    ),
    *(
        Answer(f"{name} of {type(value).__name__} {value!r:.12}", told(policy(HERE, **{name: value})), ("refused",))
        for name in ("policy", "signature", "upload_host", "oss_access_key_id")
        for value in ("", " ", [], {}, True)
    ),
    *(
        Answer(f"upload_host {host!r:.60}", told(policy(HERE, upload_host=host)), ("refused",))
        for host in (
            "ftp://127.0.0.1/store",
            "file:///tmp/store",
            "//127.0.0.1/store",
            "127.0.0.1/store",
            "http://",
            "https://",
            "http://[::1",
            "http://127.0.0.1:99999/store",
            "http://127.0.0.1:-1/store",
            "http://127.0.0.1:@/store",
            "http://me:pa55w0rd@127.0.0.1/store",
            f"{HERE}/store?x=y",
            f"{HERE}/store#x",
            f"{HERE}/store\r\nX-Injected: yes",
            f"{HERE}/store HTTP/1.1\r\nX-Injected: yes\r\n\r\n",
            f"{HERE}/store\0",
            f"{HERE}/sto re",
            f"{HERE}/\u202estore",
            "javascript:alert(1)",
            "http://\ud800/store",
            f"http://{KEY}.files.example/store",
        )
    ),
    *(
        Answer(name, told(policy(HERE, **fields)), ("refused", UPLOADED))
        for name, fields in {
            "an upload_dir that leads up": {"upload_dir": "../../../etc"},
            "an upload_dir with a line break": {
                "upload_dir": 'x\r\nContent-Disposition: form-data; name="key"\r\n\r\ny'
            },
            "an upload_dir of 100 kB": {"upload_dir": "x/" * 50_000},
            "an empty upload_dir": {"upload_dir": "/"},
            "an upload_host of 100 kB": {"upload_host": f"{HERE}/store/" + "x" * 100_000},
            "a policy of 200 kB": {"policy": "x" * 200_000},
            "a policy with a boundary": {"policy": "a\r\n--boundary\r\n\r\nb"},
            "a signature with line breaks": {"signature": f"{SIGNATURE}\r\n\r\nx"},
            "a size of 400 digits": {"max_file_size_mb": int("9" * 400)},
            "a negative size": {"max_file_size_mb": -1},
            "a size of letters": {"max_file_size_mb": "many"},
            "a size in other digits": {"max_file_size_mb": "１００"},
            "a size of two points": {"max_file_size_mb": "1.5.5"},
            "no size": {"max_file_size_mb": None},
            "an overwrite of a list": {"x_oss_forbid_overwrite": ["true"]},
            **{f"an upload_dir with {name}": {"upload_dir": text} for name, text in UNCLEAN.items()},
            **{f"a key id with {name}": {"oss_access_key_id": text} for name, text in UNCLEAN.items()},
        }.items()
    ),
    Answer("a size of 0", told(policy(HERE, max_file_size_mb=0)), ("refused", UPLOADED)),
    Answer("a size of NaN", body(with_value({"data": {"max_file_size_mb": "@"}}, b"NaN")), ("refused",)),
    Answer("a policy under 500", told(policy(HERE), "500 Internal Server Error"), ("refused",)),
    Answer("a policy under 302", told(policy(HERE), "302 Found", Location="/api/v1/elsewhere"), ("refused",)),
    Answer(
        "a policy with an error", told({**policy(HERE), "code": "AccessDenied", "message": "no"}), ("refused", UPLOADED)
    ),
    Answer("the key in a refusal", say({"code": "InvalidApiKey", "message": KEY}, "401 Unauthorized"), ("refused",)),
    *(
        Answer(
            f"a refusal with {name}", say({"code": text, "message": text, "request_id": text}, "400 Bad"), ("refused",)
        )
        for name, text in UNCLEAN.items()
    ),
]


@pytest.mark.parametrize("answer", POLICIES, ids=str)
def test_a_policy_sends_the_file_nowhere_else(
    answer: Answer, server: HostileServer, connect: Callable[..., None]
) -> None:
    connect(server.base_url)
    server.on(Kind.POLICY, answer.act)
    server.on(Kind.UPLOAD, raw(head(Content_Length=0)))

    with watching(server) as seen:
        seen.result = upload(server)

    require(seen, held=seen.result)
    assert expected(seen) in answer.expect
    check_requests(server)
    for request in server.requests:
        assert "x-injected" not in request.headers
        assert request.body.count(b'name="file"') <= 1


def without_reading(act: Callable[[Peer], None]) -> Callable[[Peer], None]:
    """Mark an act that answers before the file has been read."""
    act.unread = True  # type: ignore[attr-defined]
    return act


def error(code: str) -> bytes:
    return f"<Error><Code>{code}</Code><Message>{SIGNATURE}</Message></Error>".encode()


STORES = [
    # The store says no more than a status; whatever follows its head does not matter.
    *(Answer(name, act, ("refused", UPLOADED)) for name, act in malformed(b"<ok/>")),
    *(
        Answer(name, act, ("refused",))
        for name, act in {
            "a redirect that keeps the method": raw(head("307 Temporary Redirect", Location="/store/elsewhere")),
            "a redirect for good": raw(head("308 Permanent Redirect", Location="http://127.0.0.1:9/store")),
            "a redirect to the gateway": raw(head("303 See Other", Location="/api/v1/uploads")),
            "a redirect with a signature": raw(
                head("302 Found", Location=f"https://files.example/?Signature={SIGNATURE}")
            ),
            "not modified": raw(head("304 Not Modified")),
            "a code of 5 MB": body(error("x" * 5 * MB), "403 Forbidden"),
            "a code of lines": body(error("A\nFORGED LINE"), "403 Forbidden"),
            "a code with colours": body(error("\x1b[31mX"), "403 Forbidden"),
            "a code that is the key": body(error(KEY), "403 Forbidden"),
            "a code of digits of another script": body(error("٣٣٣"), "400 Bad Request"),
            "a thousand codes": body(error("A") * 1000, "400 Bad Request"),
            "entities without end": body(b'<!DOCTYPE x [<!ENTITY a "aaaa">]><Code>&a;</Code>', "400 Bad Request"),
            "a refusal without end": endless(head("403 Forbidden"), lambda: itertools.repeat(b"x" * 64_000)),
            "a refusal that drips": drip(head("403 Forbidden"), lambda: itertools.repeat(b"<Code>")),
            "a refusal in chunks without end": endless(
                head("403 Forbidden", Transfer_Encoding="chunked"),
                lambda: itertools.repeat(b"1\r\n \r\n" * 2000),
                4 * MB,
            ),
            "a refusal of a negative length": body(error("A"), "403 Forbidden", Content_Length=-7),
            "a refusal before the file": without_reading(raw(head("413 Too Large", Content_Length=0))),
            "a store that reads nothing": without_reading(silence),
            "a store that closes at once": without_reading(lambda peer: peer.reset()),
            "100 with the refusal after it": raw(b"HTTP/1.1 100 Continue\r\n\r\n", head("403 Forbidden")),
        }.items()
    ),
    *(
        Answer(name, act, (UPLOADED,))
        for name, act in {
            "200 with an error in it": body(error("AccessDenied")),
            "200 with a body without end": endless(head(), lambda: itertools.repeat(b"x" * 64_000)),
            "200 in chunks": chunked(b"x" * 1000),
            "204": raw(head("204 No Content")),
        }.items()
    ),
]


@pytest.mark.parametrize("answer", STORES, ids=str)
def test_a_store_ends_an_upload_and_starts_nothing_else(
    answer: Answer, server: HostileServer, connect: Callable[..., None]
) -> None:
    connect(server.base_url)
    server.on(Kind.POLICY, told(policy(HERE)))
    server.on(Kind.UPLOAD, answer.act)
    server.unread = {Kind.UPLOAD} if getattr(answer.act, "unread", False) else set()

    with watching(server) as seen:
        seen.result = upload(server)

    require(seen, held=seen.result)
    assert expected(seen) in answer.expect
    check_requests(server)


def test_a_store_that_reads_too_slowly_is_left(server: HostileServer, connect: Callable[..., None]) -> None:
    connect(server.base_url, least_speed=1e9, read_timeout=60, total_timeout=60)
    server.on(Kind.POLICY, told(policy(HERE)))
    server.unread = {Kind.UPLOAD}
    large = 32 * MB

    has_given_up = threading.Event()
    in_time: list[bool] = []

    def reads_slowly(peer: Peer) -> None:
        ends_at = time.monotonic() + LONG_S
        while not has_given_up.wait(0.05) and time.monotonic() < ends_at:
            peer.connection.recv(1000)
        in_time.append(has_given_up.is_set())

    server.on(Kind.UPLOAD, reads_slowly)

    with watching(server) as seen, WanHook("wan_default").get_conn() as client:
        try:
            client.upload(io.BytesIO(bytes(large)), model="wan2.7-i2v", name="frame.png", size=large)
        finally:
            has_given_up.set()

    require(seen)
    assert type(seen.error).__name__ == "GatewayUnavailable"
    assert in_time == [True]
    assert server.count(Kind.UPLOAD) == 1


@pytest.mark.parametrize("host", LOOKS_PRIVATE)
@pytest.mark.parametrize("scheme", ["https", "http"])
def test_no_file_goes_from_a_public_gateway_to_the_inside(
    scheme: str, host: str, server: HostileServer, connect: Callable[..., None], internet: Any
) -> None:
    connect("https://dashscope.aliyuncs.com")
    server.on(Kind.POLICY, say(policy(f"{scheme}://{host}")))
    server.on(Kind.UPLOAD, raw(head(Content_Length=0)))

    with watching(server) as seen:
        seen.result = upload(server)

    require(seen)
    assert expected(seen) == "refused"
    assert server.hosts == ["dashscope.aliyuncs.com"]
    check_requests(server)


@pytest.mark.parametrize("address", ["169.254.169.254", "127.0.0.1", "10.0.0.5"])
def test_no_file_goes_to_a_name_that_resolves_inside(
    address: str, server: HostileServer, connect: Callable[..., None], internet: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect("https://dashscope.aliyuncs.com")
    monkeypatch.setenv("NO_PROXY", "inside.example")
    internet["inside.example"] = ["8.8.8.8", address]
    server.on(Kind.POLICY, say(policy(f"https://inside.example:{server.port}")))

    with watching(server) as seen:
        seen.result = upload(server)

    require(seen)
    assert expected(seen) == "refused"
    check_requests(server)


def test_a_public_store_gets_the_file_without_the_key(
    server: HostileServer, connect: Callable[..., None], internet: Any
) -> None:
    connect("https://dashscope.aliyuncs.com")
    server.on(Kind.POLICY, say(policy("https://store.example")))
    server.on(Kind.UPLOAD, raw(head(Content_Length=0)))

    with watching(server) as seen:
        seen.result = upload(server)

    require(seen)
    assert expected(seen) == UPLOADED
    assert server.hosts == ["dashscope.aliyuncs.com", "store.example"]
    assert server.count(Kind.UPLOAD) == 1
    check_requests(server)
