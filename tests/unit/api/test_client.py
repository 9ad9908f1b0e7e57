from __future__ import annotations

import asyncio
import gzip
import io
import json
import math
import socket
import time
import tracemalloc
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import h11
import pytest

from airflow_wan.api.client import AsyncWanClient, WanClient, tls_context
from airflow_wan.api.gateways import APIYI, DASHSCOPE, Account, Gateway
from airflow_wan.api.requests import VideoRequest, build_video_request
from airflow_wan.api.tasks import TaskStatus
from airflow_wan.emulator.testing import FAST
from airflow_wan.exceptions import (
    AuthenticationFailed,
    BalanceExhausted,
    GatewayUnavailable,
    InvalidVideoRequest,
    RateLimited,
    RequestRejected,
    SubmitAmbiguous,
    SubmitNotSent,
    VideoTaskLost,
    WanConnectionError,
    WanError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from raw_server import RawServer

    from airflow_wan.api.tasks import ListedTask, WanTask
    from airflow_wan.emulator.testing import MediaServer, RunningEmulator

TASK_ID = "f8ca39a0-6f4b-4ec2-99bf-8b9649d946c4"
REQUEST = VideoRequest(
    {
        "model": "wan2.7-i2v",
        # Port 9 answers nobody: the emulator is not to go looking for pictures on the internet.
        "input": {"prompt": "一只风筝", "media": [{"type": "first_frame", "url": "http://127.0.0.1:9/rap.png"}]},
        "parameters": {"resolution": "720P"},
    }
)
CREATED = {"output": {"task_id": TASK_ID, "task_status": "PENDING"}, "request_id": "r-1"}
RUNNING = {"status": "in_progress", "progress": 30, "task_id": TASK_ID}


def create(account: Account, request: VideoRequest = REQUEST) -> WanTask:
    with WanClient(account) as client:
        return client.create(request)


def ask(account: Account, wan_task_id: str = TASK_ID) -> WanTask:
    with WanClient(account) as client:
        return client.get_task(wan_task_id)


def ask_async(account: Account, wan_task_id: str = TASK_ID) -> WanTask:
    async def asking() -> WanTask:
        async with AsyncWanClient(account) as client:
            return await client.get_task(wan_task_id)

    return asyncio.run(asking())


def cancel(account: Account, wan_task_id: str = TASK_ID) -> None:
    with WanClient(account) as client:
        client.cancel(wan_task_id)


def cancel_async(account: Account, wan_task_id: str = TASK_ID) -> None:
    async def canceling() -> None:
        async with AsyncWanClient(account) as client:
            await client.cancel(wan_task_id)

    asyncio.run(canceling())


both_kinds = pytest.mark.parametrize("get_task", [ask, ask_async], ids=["sync", "async"])
every_read = pytest.mark.parametrize("read", [ask, ask_async, cancel, cancel_async], ids=lambda read: read.__name__)


def head_of(request: bytes) -> tuple[str, dict[str, str], bytes]:
    """Return first line, headers by lower-case name, and body of a request."""
    head, _, body = request.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    return first, {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}, body


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


# Against the emulator ------------------------------------------------------------------------------------------------


@both_kinds
def test_a_video_is_made_from_create_to_url(
    get_task: Callable[..., WanTask],
    gateway: Gateway,
    wan_emulator: RunningEmulator,
    media: MediaServer,
    account_at: Callable[..., Account],
) -> None:
    account = account_at(wan_emulator.base_url, gateway, read_timeout=20.0)
    request = build_video_request(
        gateway=gateway,
        base_url=account.base_url,
        model="wan2.7-i2v",
        prompt="a kite",
        media=[{"type": "first_frame", "url": media.url("frame.png")}],
        parameters={"duration": 2},
    )

    created = create(account, request)
    seen = {created.status}  # that of an answer in between depends on the machine
    give_up = time.monotonic() + 30
    while (task := get_task(account, created.wan_task_id)).status is not TaskStatus.SUCCEEDED:
        assert time.monotonic() < give_up
        seen.add(task.status)
        time.sleep(0.05)

    assert created.status is TaskStatus.QUEUED
    assert seen <= {TaskStatus.QUEUED, TaskStatus.RUNNING}
    assert task.video_url
    assert task.video_url.startswith(wan_emulator.base_url)
    assert [row["task_id"] for row in wan_emulator.ledger()] == [created.wan_task_id]
    if gateway is DASHSCOPE:
        assert task.usage["SR"] == 720
        assert task.orig_prompt == "a kite"
        assert task.submitted_at is not None
        assert task.ended_at is not None
        assert task.submitted_at < task.ended_at
        assert abs(task.ended_at.timestamp() - time.time()) < 60
    else:
        assert task.progress == 100


def test_the_emulator_gets_the_body_as_built_and_the_headers(
    gateway: Gateway, wan_emulator: RunningEmulator, account_at: Callable[..., Account]
) -> None:
    create(account_at(wan_emulator.base_url, gateway, read_timeout=20.0))

    (received,) = wan_emulator.requests()
    assert received["body"] == REQUEST.body
    assert received["bearer"] is True
    assert received["headers"]["content-type"] == "application/json"
    assert received["headers"]["x-dashscope-async"] == "enable"
    assert received["headers"]["accept-encoding"] == "identity"


@every_read
def test_a_task_that_the_emulator_does_not_know_is_unknown_or_lost(
    read: Callable[..., Any], gateway: Gateway, wan_emulator: RunningEmulator, account_at: Callable[..., Account]
) -> None:
    account = account_at(wan_emulator.base_url, gateway)
    if read in (cancel, cancel_async):
        expected: type[WanError] | None = WanError  # DashScope refuses as for a running task; APIYI has no such path
    elif gateway is DASHSCOPE:
        expected = None  # an answer like any other: UNKNOWN
    else:
        expected = VideoTaskLost

    if expected is None:
        assert read(account).status is TaskStatus.UNKNOWN
    else:
        with pytest.raises(expected):
            read(account)


@pytest.mark.parametrize("act", [create, ask, ask_async], ids=lambda act: act.__name__)
def test_a_wrong_key_is_an_authentication_failure(
    act: Callable[..., Any], gateway: Gateway, wan_emulator: RunningEmulator, account_at: Callable[..., Account]
) -> None:
    with pytest.raises(AuthenticationFailed):
        act(account_at(wan_emulator.base_url, gateway, api_key="not-a-key"))


def test_a_request_without_media_is_rejected_although_apiyi_says_500(
    wan_emulator: RunningEmulator, account_at: Callable[..., Account]
) -> None:
    request = VideoRequest({"model": "wan2.7-i2v", "input": {"prompt": "a kite"}, "parameters": {"resolution": "720P"}})

    with pytest.raises(RequestRejected, match="必须提供图片") as caught:
        create(account_at(wan_emulator.base_url, APIYI), request)

    assert caught.value.http_status == 500
    assert wan_emulator.ledger() == []


@pytest.mark.parametrize("cancel_task", [cancel, cancel_async], ids=["sync", "async"])
def test_a_queued_task_is_canceled_at_dashscope(
    cancel_task: Callable[..., None],
    wan_emulator_for: Callable[..., RunningEmulator],
    account_at: Callable[..., Account],
) -> None:
    emulator = wan_emulator_for(replace(FAST, pending_s=3600.0))
    account = account_at(emulator.base_url, DASHSCOPE, read_timeout=20.0)
    created = create(account)

    cancel_task(account, created.wan_task_id)

    assert ask(account, created.wan_task_id).status is TaskStatus.CANCELED


def test_a_refused_cancel_does_not_make_the_task_lost(
    raw_server: RawServer, account_at: Callable[..., Account]
) -> None:
    raw_server.answers(
        400, {"code": "UnsupportedOperation", "message": "Failed to cancel the task.", "request_id": "r"}
    )

    with pytest.raises(WanError) as raised:
        cancel(account_at(raw_server.base_url, DASHSCOPE))

    assert type(raised.value) is WanError
    assert raised.value.code == "UnsupportedOperation"


# HTTP requests -------------------------------------------------------------------------------------------------------


def test_a_create_is_one_post_with_these_headers_only(
    raw_server: RawServer, account_at: Callable[..., Account], gateway: Gateway
) -> None:
    raw_server.answers(200, CREATED)

    task = create(account_at(raw_server.base_url, gateway))

    assert (task.wan_task_id, task.request_id) == (TASK_ID, "r-1")
    (received,) = raw_server.requests
    first, headers, body = head_of(received)
    prefix = "/wan" if gateway is APIYI else ""
    assert first == f"POST {prefix}/api/v1/services/aigc/video-generation/video-synthesis HTTP/1.1"
    assert {
        name: headers[name] for name in ("authorization", "content-type", "x-dashscope-async", "accept-encoding")
    } == {
        "authorization": "Bearer sk-ground-floor-0123456789",
        "content-type": "application/json",
        "x-dashscope-async": "enable",
        "accept-encoding": "identity",
    }
    of_http = {"host", "accept", "connection", "user-agent", "content-length"}
    assert set(headers) - of_http == {"authorization", "content-type", "x-dashscope-async", "accept-encoding"}
    assert json.loads(body) == REQUEST.body


@both_kinds
def test_a_read_has_the_key_and_no_async_header(
    get_task: Callable[..., WanTask], raw_server: RawServer, account_at: Callable[..., Account]
) -> None:
    raw_server.answers(200, RUNNING)

    task = get_task(account_at(raw_server.base_url))

    assert (task.status, task.progress) == (TaskStatus.RUNNING, 30)
    first, headers, body = head_of(raw_server.requests[0])
    assert first == f"GET /v1/tasks/{TASK_ID} HTTP/1.1"
    assert headers["authorization"] == "Bearer sk-ground-floor-0123456789"
    assert headers["accept-encoding"] == "identity"
    assert "x-dashscope-async" not in headers
    assert body == b""


def test_the_workspace_of_a_connection_is_sent(raw_server: RawServer, account_at: Callable[..., Account]) -> None:
    raw_server.answers(200, RUNNING)

    ask(account_at(raw_server.base_url, DASHSCOPE, workspace="ws-1"))

    assert head_of(raw_server.requests[0])[1]["x-dashscope-workspace"] == "ws-1"


def test_the_path_of_a_base_url_is_kept(raw_server: RawServer, account_at: Callable[..., Account]) -> None:
    raw_server.answers(200, RUNNING)

    ask(account_at(raw_server.base_url + "/proxy"))

    assert head_of(raw_server.requests[0])[0] == f"GET /proxy/v1/tasks/{TASK_ID} HTTP/1.1"


def test_the_proxies_of_the_environment_are_used(
    raw_server: RawServer, account_at: Callable[..., Account], monkeypatch: pytest.MonkeyPatch
) -> None:
    raw_server.answers(200, RUNNING)
    monkeypatch.setenv("http_proxy", raw_server.base_url)
    monkeypatch.setenv("no_proxy", "")

    ask(account_at("http://gateway.invalid"))

    assert head_of(raw_server.requests[0])[0] == f"GET http://gateway.invalid/v1/tasks/{TASK_ID} HTTP/1.1"


def test_the_tls_context_is_built_once_and_shared(account_at: Callable[..., Account]) -> None:
    first, second = WanClient(account_at("https://a.example")), WanClient(account_at("https://b.example"))

    assert tls_context() is tls_context()
    for client in (first, second):
        with client:
            assert client._http._transport._pool._ssl_context is tls_context()  # type: ignore[attr-defined]


def test_no_text_of_an_account_shows_the_key(account_at: Callable[..., Account]) -> None:
    account = account_at("https://api.apiyi.com")

    assert "ground-floor" not in f"{account} {account!r}"


# Create: exactly one POST, whatever happens --------------------------------------------------------------------------


def test_a_refused_connection_means_not_sent(account_at: Callable[..., Account]) -> None:
    with pytest.raises(SubmitNotSent, match="Nothing was accepted or billed"):
        create(account_at(f"http://127.0.0.1:{closed_port()}"))


def test_an_unknown_host_means_not_sent(account_at: Callable[..., Account]) -> None:
    with pytest.raises(SubmitNotSent, match=r"https://nonexistent\.invalid"):
        create(account_at("https://nonexistent.invalid"))


def test_a_failed_tls_handshake_means_not_sent(raw_server: RawServer, account_at: Callable[..., Account]) -> None:
    raw_server.speaks_before_the_request(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with pytest.raises(SubmitNotSent, match="ConnectError"):
        create(account_at(raw_server.base_url.replace("http:", "https:")))

    assert raw_server.connections == 1


def test_a_tls_handshake_without_an_end_means_not_sent(account_at: Callable[..., Account]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]

        with pytest.raises(SubmitNotSent, match="ConnectTimeout"):
            create(account_at(f"https://127.0.0.1:{port}", connect_timeout=0.2))


def test_a_proxy_that_refuses_the_tunnel_means_not_sent(
    raw_server: RawServer, account_at: Callable[..., Account], monkeypatch: pytest.MonkeyPatch
) -> None:
    raw_server.answers(407, b"who are you?")
    monkeypatch.setenv("https_proxy", raw_server.base_url)
    monkeypatch.setenv("no_proxy", "")

    with pytest.raises(SubmitNotSent, match="ProxyError"):
        create(account_at("https://gateway.invalid"))

    assert [head_of(request)[0].split()[0] for request in raw_server.requests] == ["CONNECT"]


HTML = b"<html><head><title>502 Bad Gateway</title></head></html>"
HTML_HEADERS = {"Content-Type": "text/html"}
CREATED_BYTES = json.dumps(CREATED).encode()
REFUSED = {"code": "InvalidParameter", "message": "m", "request_id": "r-1"}
REFUSED_BYTES = json.dumps(REFUSED).encode()
THROTTLED = {"code": "Throttling.RateQuota", "message": "m", "request_id": "r-1"}


@pytest.mark.parametrize(
    "misbehave",
    [
        pytest.param(lambda server: server.resets(), id="reset after the request"),
        pytest.param(lambda server: server.hangs_up(), id="end of the connection after the request"),
        pytest.param(lambda server: server.says_nothing(), id="no answer in time"),
        pytest.param(lambda server: server.sends(b"HTTP/1.1 200 OK\r\nContent-Le"), id="half a head"),
        pytest.param(
            lambda server: server.sends(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + CREATED_BYTES[:30]),
            id="shorter than announced",
        ),
        pytest.param(
            lambda server: server.sends(b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n" + CREATED_BYTES),
            id="longer than announced",
        ),
        pytest.param(
            lambda server: server.sends(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
            id="broken chunks",
        ),
        pytest.param(lambda server: server.sends(b"SSH-2.0-OpenSSH_9.6\r\n"), id="another protocol"),
        pytest.param(lambda server: server.answers(502, HTML, HTML_HEADERS), id="502 of a proxy"),
        pytest.param(lambda server: server.answers(504, b""), id="504 and nothing"),
        pytest.param(lambda server: server.answers(408, b"too slow"), id="408"),
        pytest.param(lambda server: server.answers(200, HTML, HTML_HEADERS), id="HTML with 200"),
        pytest.param(lambda server: server.answers(200, b""), id="nothing with 200"),
        pytest.param(lambda server: server.answers(200, b"\xff\xfe\x00"), id="no text with 200"),
        pytest.param(lambda server: server.answers(200, {"request_id": "r-1"}), id="no task id with 200"),
        pytest.param(lambda server: server.answers(200, b"[" * 100_000), id="endlessly nested JSON"),
        pytest.param(lambda server: server.answers(200, b'{"a": ' + b"9" * 5000 + b"}"), id="a number of 5000 digits"),
        pytest.param(lambda server: server.answers(200, b" " * 600_000 + CREATED_BYTES), id="more bytes than are read"),
        pytest.param(lambda server: server.answers(400, b" " * 600_000 + REFUSED_BYTES), id="a refusal with too many"),
        pytest.param(lambda server: server.answers(400, CREATED), id="a refusal with a task id in it"),
        pytest.param(lambda server: server.answers(429, CREATED), id="throttling with a task id in it"),
        pytest.param(lambda server: server.answers(200, REFUSED), id="a refusal with 200"),
        pytest.param(lambda server: server.answers(200, THROTTLED), id="throttling with 200"),
        pytest.param(lambda server: server.answers(503, THROTTLED), id="throttling with 503"),
        pytest.param(lambda server: server.answers(303, {}, {"Location": "/v1/tasks/a"}), id="303"),
        pytest.param(lambda server: server.answers(304, b""), id="304"),
        pytest.param(lambda server: server.answers(307, {}, {"Location": "/elsewhere"}), id="307"),
        pytest.param(lambda server: server.answers(409, {"message": "m"}), id="409"),
        pytest.param(lambda server: server.answers(999, REFUSED), id="a status that does not exist"),
        pytest.param(
            lambda server: server.answers(502, HTML, {"Content-Type": "text/html; charset=utf-16"}), id="wrong charset"
        ),
        pytest.param(
            lambda server: server.answers(502, HTML, {"Content-Type": "text/html; charset=hex"}), id="a strange charset"
        ),
        pytest.param(
            lambda server: server.answers(503, HTML, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 +99999999999999"}),
            id="a strange Retry-After",
        ),
        pytest.param(lambda server: server.answers(500, {"code": "InternalError", "message": "m"}), id="an outage"),
    ],
)
def test_a_create_whose_answer_proves_nothing_is_ambiguous_and_sent_once(
    misbehave: Callable[[RawServer], None], raw_server: RawServer, account_at: Callable[..., Account]
) -> None:
    misbehave(raw_server)

    with pytest.raises(SubmitAmbiguous, match="may be billed"):
        create(account_at(raw_server.base_url, read_timeout=0.3))

    assert raw_server.connections == 1
    assert [request.split()[0] for request in raw_server.requests] == [b"POST"]


CUT_OFF = {
    "the connection ends too early": b"Content-Length: 500\r\n\r\n" + CREATED_BYTES[:-9],
    "a chunk is broken": b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\nzz\r\n" % (len(CREATED_BYTES), CREATED_BYTES),
    "packed, and only labelled so": b"Content-Encoding: gzip\r\nContent-Length: 900\r\n\r\n" + CREATED_BYTES,
}


@pytest.mark.parametrize("rest", CUT_OFF.values(), ids=CUT_OFF)
def test_the_id_in_the_part_of_an_answer_that_arrived_is_not_lost(
    rest: bytes, raw_server: RawServer, account_at: Callable[..., Account]
) -> None:
    raw_server.sends(b"HTTP/1.1 200 OK\r\n" + rest)

    assert create(account_at(raw_server.base_url)).wan_task_id == TASK_ID
    assert len(raw_server.requests) == 1


@pytest.mark.parametrize("limit", ["read_timeout", "total_timeout"])
def test_the_id_in_an_answer_that_never_ends_is_not_lost(
    limit: str, raw_server: RawServer, account_at: Callable[..., Account]
) -> None:
    def answer_and_wait(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n" + CREATED_BYTES)
        connection.recv(1)

    raw_server.acts(answer_and_wait)

    assert create(account_at(raw_server.base_url, **{limit: 0.5})).wan_task_id == TASK_ID


@pytest.mark.parametrize(
    ("status", "payload", "expected"),
    [
        (400, {"code": "InvalidParameter", "message": "m"}, RequestRejected),
        (401, {"code": "InvalidApiKey", "message": "m"}, AuthenticationFailed),
        (429, {"code": "Throttling", "message": "m"}, RateLimited),
        (429, {"error": {"code": "insufficient_user_quota", "message": "m"}}, BalanceExhausted),
        (404, {}, RequestRejected),
    ],
)
def test_a_refused_create_is_sent_once_and_no_redirect_is_followed(
    status: int, payload: object, expected: type[WanError], raw_server: RawServer, account_at: Callable[..., Account]
) -> None:
    raw_server.answers(status, payload, {"Location": raw_server.base_url + "/elsewhere", "Retry-After": "0"})

    with pytest.raises(expected):
        create(account_at(raw_server.base_url))

    assert len(raw_server.requests) == raw_server.connections == 1


def test_a_kept_connection_that_the_gateway_closed_causes_no_second_post(
    raw_server: RawServer, account_at: Callable[..., Account]
) -> None:
    kept_alive = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(CREATED_BYTES) + CREATED_BYTES
    raw_server.sends(kept_alive)

    with WanClient(account_at(raw_server.base_url)) as client:
        for number in range(1, 4):
            assert client.create(REQUEST).wan_task_id == TASK_ID
            raw_server.wait_until_closed(number)

    assert len(raw_server.requests) == raw_server.connections == 3


def test_an_illegal_header_means_not_sent(raw_server: RawServer, account_at: Callable[..., Account]) -> None:
    with pytest.raises(SubmitNotSent):
        create(account_at(raw_server.base_url, workspace="two\nlines"))

    assert not any(raw_server.requests)


# Reads ---------------------------------------------------------------------------------------------------------------


@every_read
@pytest.mark.parametrize(
    "misbehave",
    [
        pytest.param(lambda server: server.resets(), id="reset"),
        pytest.param(lambda server: server.hangs_up(), id="end of the connection"),
        pytest.param(lambda server: server.says_nothing(), id="no answer in time"),
        pytest.param(lambda server: server.sends(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"), id="cut short"),
        pytest.param(lambda server: server.answers(502, HTML, HTML_HEADERS), id="502 of a proxy"),
    ],
)
def test_a_read_that_fails_makes_the_gateway_unavailable_and_is_not_repeated(
    misbehave: Callable[[RawServer], None],
    read: Callable[..., Any],
    raw_server: RawServer,
    account_at: Callable[..., Account],
) -> None:
    misbehave(raw_server)

    with pytest.raises(GatewayUnavailable) as caught:
        read(account_at(raw_server.base_url, read_timeout=0.2))

    assert caught.value.wan_task_id == TASK_ID
    assert raw_server.connections == 1


@every_read
@pytest.mark.parametrize("base_url", ["https://nonexistent.invalid", "http://127.0.0.1:{port}"])
def test_a_gateway_that_cannot_be_reached_is_unavailable(
    read: Callable[..., Any], base_url: str, account_at: Callable[..., Account]
) -> None:
    with pytest.raises(GatewayUnavailable, match="APIYI at http"):
        read(account_at(base_url.format(port=closed_port())))


@both_kinds
def test_an_html_page_with_status_200_makes_the_gateway_unavailable(
    get_task: Callable[..., WanTask], raw_server: RawServer, account_at: Callable[..., Account]
) -> None:
    raw_server.answers(200, HTML, HTML_HEADERS)

    with pytest.raises(GatewayUnavailable, match="no task status"):
        get_task(account_at(raw_server.base_url))


@both_kinds
def test_an_answer_that_is_only_labelled_as_gzip_is_read(
    get_task: Callable[..., WanTask], raw_server: RawServer, account_at: Callable[..., Account]
) -> None:
    raw_server.answers(200, json.dumps(RUNNING).encode(), {"Content-Encoding": "gzip"})

    assert get_task(account_at(raw_server.base_url)).status is TaskStatus.RUNNING


def test_a_retry_after_header_is_read(raw_server: RawServer, account_at: Callable[..., Account]) -> None:
    raw_server.answers(429, {"code": "Throttling.RateQuota", "message": "m"}, {"Retry-After": "7"})

    with pytest.raises(RateLimited) as caught:
        ask(account_at(raw_server.base_url, DASHSCOPE))

    assert caught.value.retry_after == 7.0


@pytest.mark.parametrize("act", [create, ask, ask_async], ids=lambda act: act.__name__)
def test_a_network_error_holds_neither_the_key_nor_the_request(
    act: Callable[..., Any], raw_server: RawServer, account_at: Callable[..., Account]
) -> None:
    raw_server.resets()

    with pytest.raises(WanError) as caught:
        act(account_at(raw_server.base_url))

    assert "ground-floor" not in f"{caught.value} {caught.value!r} {vars(caught.value)}"
    assert caught.value.__context__ is None


# The total time of a call ---------------------------------------------------------------------------------------------


def list_tasks(account: Account) -> list[ListedTask]:
    with WanClient(account) as client:
        return client.list_tasks("wan2.7-i2v", since=time.time() - 60, until=time.time())


def upload(account: Account) -> str:
    with WanClient(account) as client:
        return client.upload(io.BytesIO(b"x"), model="wan2.7-i2v", name="x.png", size=1)


DRIPS = {
    "the status line": lambda server: server.drips(b"HTTP/1.1 200 OK" + b"y" * 50_000),
    "a header": lambda server: server.drips(b"HTTP/1.1 200 OK\r\nA: " + b"b" * 50_000),
    "informational answers": lambda server: server.drips(b"HTTP/1.1 100 Continue\r\n\r\n" * 9_000),
    "a body": lambda server: server.drips(b" " * 50_000, before=b"HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n{"),
    "a body without an end": lambda server: server.drips(b"{", before=b"HTTP/1.1 400 No\r\n\r\n"),
    "an error page": lambda server: server.drips(b"<html>", before=b"HTTP/1.1 404 No\r\nConnection: close\r\n\r\n"),
    "chunks": lambda server: server.drips(
        b"1\r\n \r\n" * 9_000, before=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    ),
}


def is_left_in_time(call: Callable[[Account], Any], account: Account) -> None:
    expected = SubmitAmbiguous if call is create else GatewayUnavailable

    with pytest.raises(expected, match=r"within 0\.4 s, the longest that a call may take") as caught:
        call(account)

    assert caught.value.http_status is None


@pytest.mark.parametrize("call", [create, ask_async], ids=lambda call: call.__name__)
@pytest.mark.parametrize("drip", DRIPS.values(), ids=DRIPS)
def test_a_gateway_that_drips_is_left_when_the_total_time_is_over(
    drip: Callable[[RawServer], None],
    call: Callable[[Account], Any],
    raw_server: RawServer,
    account_at: Callable[..., Account],
) -> None:
    drip(raw_server)

    is_left_in_time(call, account_at(raw_server.base_url, DASHSCOPE, total_timeout=0.4))

    assert raw_server.connections == 1


@pytest.mark.parametrize(
    "call", [create, ask, ask_async, cancel, cancel_async, list_tasks, upload], ids=lambda call: call.__name__
)
def test_every_call_has_a_total_time(
    call: Callable[[Account], Any], raw_server: RawServer, account_at: Callable[..., Account]
) -> None:
    DRIPS["a header"](raw_server)

    is_left_in_time(call, account_at(raw_server.base_url, DASHSCOPE, total_timeout=0.4))

    assert raw_server.connections == 1


def test_a_gateway_that_reads_slowly_is_left_when_the_total_time_is_over(
    raw_server: RawServer, account_at: Callable[..., Account]
) -> None:
    raw_server.reads_slowly()
    request = VideoRequest(REQUEST.body | {"input": {"prompt": "x" * 20_000_000}})

    # To write 20 MB as JSON takes a part of that time, on a busy machine most of it.
    with pytest.raises(SubmitAmbiguous, match="total_timeout"):
        create(account_at(raw_server.base_url, total_timeout=3.0), request)


@pytest.mark.parametrize("call", [create, ask, ask_async], ids=lambda call: call.__name__)
def test_a_tls_handshake_that_drips_is_left_before_anything_is_sent(
    call: Callable[[Account], Any], raw_server: RawServer, account_at: Callable[..., Account]
) -> None:
    raw_server.drips(b"\0" * 16_384, before=b"\x16\x03\x03\x40\x00")  # the beginning of a long record
    raw_server.reads_no_request()

    with pytest.raises(SubmitNotSent if call is create else GatewayUnavailable, match="total_timeout"):
        call(account_at(raw_server.base_url.replace("http:", "https:"), total_timeout=0.4))


def test_the_second_call_on_a_kept_connection_has_a_total_time_too(
    raw_server: RawServer, account_at: Callable[..., Account]
) -> None:
    answer = json.dumps(RUNNING).encode()

    def answers_once(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(answer) + answer)
        connection.recv(65536)
        for _ in range(5_000):
            connection.sendall(b"x")
            time.sleep(0.02)

    raw_server.acts(answers_once)
    with WanClient(account_at(raw_server.base_url, total_timeout=0.5)) as client:
        assert client.get_task(TASK_ID).status is TaskStatus.RUNNING

        with pytest.raises(SubmitAmbiguous, match="total_timeout"):
            client.create(REQUEST)

    assert raw_server.connections == 1


def test_a_call_that_is_over_leaves_its_kept_connection_alone(
    raw_server: RawServer, account_at: Callable[..., Account]
) -> None:
    answer = json.dumps(RUNNING).encode()

    def keeps_answering(connection: socket.socket) -> None:
        while True:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(answer) + answer)
            if not connection.recv(65536):
                return

    raw_server.acts(keeps_answering)
    with WanClient(account_at(raw_server.base_url, total_timeout=0.3)) as client:
        for _ in range(3):
            assert client.get_task(TASK_ID).status is TaskStatus.RUNNING
            time.sleep(0.2)  # together longer than the time of one call

    assert raw_server.connections == 1


# Much of everything ---------------------------------------------------------------------------------------------------

HEAD = b"HTTP/1.1 200 OK\r\n"
FLOODS = {
    "headers": HEAD + b"a:b\r\n" * 19_000 + b"\r\n",
    "one header": HEAD + b"a: " + b"b" * 200_000,
    "informational answers": b"HTTP/1.1 100 C\r\n\r\n" * 30_000,
    "trailers": HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"a:b\r\n" * 19_000 + b"\r\n",
    "an extension of a chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;" + b"x" * 90_000 + b"\r\na\r\n0\r\n\r\n",
    "small chunks": HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\n \r\n" * 100_000,
    "a body": HEAD + b"Content-Length: 9000000\r\n\r\n" + b" " * 9_000_000,
    "a body that is packed": HEAD + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b" " * 90_000_000),
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
@pytest.mark.parametrize("call", [create, ask, ask_async], ids=lambda call: call.__name__)
def test_a_flood_is_not_read(
    call: Callable[[Account], Any], flood: bytes, raw_server: RawServer, account_at: Callable[..., Account]
) -> None:
    raw_server.sends(flood)
    account = account_at(raw_server.base_url)
    tracemalloc.start()

    with pytest.raises(SubmitAmbiguous if call is create else GatewayUnavailable):
        call(account)

    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 40_000_000  # of which most is the flood itself, in this process
    assert raw_server.connections == 1


async def test_the_event_loop_takes_little_at_a_time(
    raw_server: RawServer, account_at: Callable[..., Account], monkeypatch: pytest.MonkeyPatch
) -> None:
    received: list[int] = []
    receive_data = h11.Connection.receive_data

    def counting(connection: h11.Connection, data: bytes) -> None:
        received.append(len(data))
        receive_data(connection, data)

    monkeypatch.setattr(h11.Connection, "receive_data", counting)
    for flood in FLOODS.values():
        raw_server.sends(flood)
        async with AsyncWanClient(account_at(raw_server.base_url)) as client:
            with pytest.raises(GatewayUnavailable):
                await client.get_task(TASK_ID)

    assert max(received) <= 8192
    assert sum(received) < len(FLOODS) * 600_000


# Cancels --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cancel_task", [cancel, cancel_async], ids=["sync", "async"])
@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b""),
        (200, b"<html>welcome</html>"),
        (200, b"{}"),
        (200, b"[]"),
        (200, json.dumps({"request_id": "r", "code": "UnsupportedOperation", "message": "m"}).encode()),
        (200, json.dumps({"request_id": "r", "error": {"message": "m"}}).encode()),
        (200, json.dumps({"request_id": "r", "output": {"task_id": "another"}}).encode()),
        (200, json.dumps({"request_id": "r", "output": {"task_id": TASK_ID, "task_status": "RUNNING"}}).encode()),
        (201, json.dumps({"request_id": "r"}).encode()),
        (202, json.dumps({"request_id": "r"}).encode()),
        (204, b""),
        (302, json.dumps({"request_id": "r"}).encode()),
    ],
)
def test_a_cancel_is_believed_only_as_it_is_documented(
    status: int,
    body: bytes,
    cancel_task: Callable[..., None],
    raw_server: RawServer,
    account_at: Callable[..., Account],
) -> None:
    raw_server.answers(status, body)

    with pytest.raises(WanError) as caught:
        cancel_task(account_at(raw_server.base_url, DASHSCOPE))

    assert caught.value.wan_task_id == TASK_ID


# What cannot be sent --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "unusable", ["", "..", "a b", "a\nb", "a\0b", "half \ud83d", "\ud83d", "x" * 201, "x" * 70_000, "a\x1b[31m"]
)
@every_read
def test_an_id_that_no_task_can_have_is_lost_and_nothing_is_asked(
    read: Callable[..., Any], unusable: str, raw_server: RawServer, account_at: Callable[..., Account]
) -> None:
    with pytest.raises(VideoTaskLost):
        read(account_at(raw_server.base_url, DASHSCOPE), unusable)

    assert raw_server.connections == 0


@pytest.mark.parametrize("prompt", ["half of one: \ud83d", math.nan, object(), {1, 2}])
def test_a_request_that_is_no_json_is_invalid_and_not_sent(
    prompt: object, raw_server: RawServer, account_at: Callable[..., Account]
) -> None:
    request = VideoRequest(REQUEST.body | {"input": {"prompt": prompt}})

    with pytest.raises(InvalidVideoRequest, match="Nothing was sent"):
        create(account_at(raw_server.base_url), request)

    assert raw_server.connections == 0


@pytest.mark.parametrize("proxy", ["ftp://user:hunter22@127.0.0.1:1", "socks5://user:hunter22@127.0.0.1:1"])
@pytest.mark.parametrize("call", [create, ask_async], ids=lambda call: call.__name__)
def test_a_proxy_that_cannot_be_used_is_a_fault_of_the_environment(
    call: Callable[[Account], Any], proxy: str, account_at: Callable[..., Account], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", proxy)

    with pytest.raises(WanConnectionError, match="HTTPS_PROXY") as caught:
        call(account_at("https://gateway.invalid"))

    assert "hunter22" not in str(caught.value)


# Lists ---------------------------------------------------------------------------------------------------------------


def test_the_list_has_the_tasks_of_all_pages_between_the_two_moments(
    wan_emulator: RunningEmulator, account_at: Callable[..., Account]
) -> None:
    account = account_at(wan_emulator.base_url, DASHSCOPE, read_timeout=20.0)
    before = time.time()
    created = [create(account).wan_task_id for _ in range(12)]

    with WanClient(account) as client:
        listed = client.list_tasks("wan2.7-i2v", since=before, until=time.time())
        others = client.list_tasks("wan2.6-i2v", since=before, until=time.time())

    assert sorted(row.wan_task_id for row in listed) == sorted(created)
    assert others == []


def test_a_list_that_is_too_long_is_not_read(raw_server: RawServer, account_at: Callable[..., Account]) -> None:
    raw_server.answers(200, {"data": [], "total_page": 10_000})

    with (
        WanClient(account_at(raw_server.base_url, DASHSCOPE)) as client,
        pytest.raises(WanError, match="pages"),
    ):
        client.list_tasks("wan2.7-i2v", since=time.time() - 60, until=time.time())

    assert len(raw_server.requests) == 20


# APIYI's list, which a system token opens ----------------------------------------------------------------------------

TOKEN = "owner-token-0123456789"


def owner(account: Account) -> Account:
    return replace(account, system_token=TOKEN)


def test_a_system_token_opens_the_list(wan_emulator: RunningEmulator, account_at: Callable[..., Account]) -> None:
    account = account_at(wan_emulator.base_url, APIYI, read_timeout=20.0)
    before = time.time()
    created = [create(account).wan_task_id for _ in range(3)]

    with WanClient(owner(account)) as client:
        listed = client.list_tasks("wan2.7-i2v", since=before, until=time.time())
        earlier = client.list_tasks("wan2.7-i2v", since=before - 900, until=before - 600)
        unknown = client.cost_of("no such task")

    assert sorted(row.wan_task_id for row in listed) == sorted(created)
    assert {row.model for row in listed} == {"wan2.7-i2v"}
    assert earlier == []
    assert unknown is None


def test_the_token_is_sent_for_the_list_alone_raw_and_without_the_key(
    raw_server: RawServer, account_at: Callable[..., Account]
) -> None:
    row = {"task_id": "a", "status": "completed", "quota": 42_000, "submit_time": 1_775_113_902, "model_name": "m"}
    raw_server.answers(200, {"data": {"items": [row]}})
    account = owner(account_at(raw_server.base_url, APIYI))

    with WanClient(account) as client:
        rows = client.list_tasks("m", since=1_775_113_902, until=1_775_113_903)
        cost = client.cost_of("a")
        with suppress(WanError):
            client.get_task("a")

    assert [row.wan_task_id for row in rows] == ["a"]
    assert cost == 0.084
    *lists, poll = raw_server.requests
    assert len(lists) == 3  # two pages, of which the second has nothing new, and the cost
    for request in lists:
        assert f"\r\nauthorization: {TOKEN}\r\n".encode() in request.replace(b"Authorization", b"authorization")
        assert b"sk-" not in request
    assert TOKEN.encode() not in poll
    assert TOKEN not in repr((account, client))


@pytest.mark.parametrize("quota", [None, "42000", True, -1, float("inf"), 10**400, {}])
def test_a_quota_that_is_no_amount_is_no_cost(
    quota: Any, raw_server: RawServer, account_at: Callable[..., Account]
) -> None:
    rows = [{"task_id": "a", "status": "completed", "quota": quota, "submit_time": 1_775_113_902}]
    raw_server.answers(200, {"data": {"items": rows}})

    with WanClient(owner(account_at(raw_server.base_url, APIYI))) as client:
        assert client.cost_of("a") is None


def test_a_failed_task_still_shows_its_charge_and_costs_nothing(
    raw_server: RawServer, account_at: Callable[..., Account]
) -> None:
    rows = [{"task_id": "a", "status": "failed", "quota": 42_000, "submit_time": 1_775_113_902}]
    raw_server.answers(200, {"data": {"items": rows}})

    with WanClient(owner(account_at(raw_server.base_url, APIYI))) as client:
        assert client.cost_of("a") is None


@pytest.mark.parametrize("body", [{"data": None}, {"data": {"items": None}}, {"success": False, "message": "no"}, []])
def test_what_is_no_list_of_an_owner_makes_the_gateway_unavailable(
    body: Any, raw_server: RawServer, account_at: Callable[..., Account]
) -> None:
    raw_server.answers(200, body)

    with WanClient(owner(account_at(raw_server.base_url, APIYI))) as client, pytest.raises(GatewayUnavailable):
        client.list_tasks("m", since=0, until=1)


def test_without_a_token_the_cost_is_not_asked_for(raw_server: RawServer, account_at: Callable[..., Account]) -> None:
    with WanClient(account_at(raw_server.base_url, APIYI)) as client:
        assert client.cost_of("a") is None

    assert raw_server.requests == []


def test_a_token_that_the_gateway_repeats_is_hidden(raw_server: RawServer, account_at: Callable[..., Account]) -> None:
    raw_server.answers(401, {"success": False, "message": f"token {TOKEN} is not valid"})

    with WanClient(owner(account_at(raw_server.base_url, APIYI))) as client, pytest.raises(WanError) as caught:
        client.cost_of("a")

    assert "is not valid" in str(caught.value)
    assert TOKEN[:8] not in f"{caught.value} {caught.value!r} {vars(caught.value)}"


def test_an_interrupt_as_httpcore_took_its_lock_ends_the_client(account_at: Callable[..., Account]) -> None:
    client = WanClient(account_at("http://127.0.0.1:9"))
    client._http._transport._pool._optional_thread_lock.__enter__()  # type: ignore[attr-defined]

    client.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)  # it returns
