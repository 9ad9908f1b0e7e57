"""An error report shows the chain of an exception and the variables of its frames; no secret is in any of them."""

from __future__ import annotations

import asyncio
import io
import json
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import airflow_wan
from airflow_wan.api.client import AsyncWanClient, WanClient
from airflow_wan.api.gateways import DASHSCOPE, Account
from airflow_wan.api.requests import VideoRequest
from airflow_wan.exceptions import WanError
from airflow_wan.hooks.wan import WanHook

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

KEY = "odd/Key+without-prefix/0123456789"
SIGNED = "https://files.example/clip.mp4?Expires=1&Signature=TOPSECRET"
OURS = Path(airflow_wan.__file__).parent
REQUEST = VideoRequest({"model": "wan2.7-i2v", "input": {"media": [{"url": SIGNED}]}, "parameters": {}})


def chain_of(error: BaseException) -> list[BaseException]:
    chain: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is not None and one not in chain:
            chain.append(one)
            waiting += [one.__cause__, one.__context__]
    return chain


def variables_of(trace: TracebackType | None) -> Iterator[str]:
    while trace is not None:
        frame = trace.tb_frame
        if Path(frame.f_code.co_filename).is_relative_to(OURS):
            yield from (f"{frame.f_code.co_name}: {name} = {value!r}" for name, value in frame.f_locals.items())
        trace = trace.tb_next


def assert_nothing_shows(error: BaseException) -> None:
    for one in chain_of(error):
        assert isinstance(one, WanError), f"{one!r} is shown with all of its frames"
        for shown in (repr(one), str(one), repr(vars(one)), *variables_of(one.__traceback__)):
            assert KEY not in shown, shown
            assert "TOPSECRET" not in shown, shown


# Gateways -------------------------------------------------------------------------------------------------------------


def with_client(account: Account, use: Callable[[WanClient], Any]) -> Any:
    with WanClient(account) as client:
        return use(client)


def with_async_client(account: Account, use: Callable[[AsyncWanClient], Any]) -> Any:
    async def using() -> Any:
        async with AsyncWanClient(account) as client:
            return await use(client)

    return asyncio.run(using())


CALLS: dict[str, Callable[[Account], Any]] = {
    "create": lambda account: with_client(account, lambda client: client.create(REQUEST)),
    "get": lambda account: with_client(account, lambda client: client.get_task("task-1")),
    "list": lambda account: with_client(account, lambda client: client.list_tasks("m", since=0.0, until=1.0)),
    "cancel": lambda account: with_client(account, lambda client: client.cancel("task-1")),
    "upload": lambda account: with_client(
        account, lambda client: client.upload(io.BytesIO(b"x"), model="m", name="a.png", size=1)
    ),
    "get on the loop": lambda account: with_async_client(account, lambda client: client.get_task("task-1")),
    "cancel on the loop": lambda account: with_async_client(account, lambda client: client.cancel("task-1")),
}

BAD_BODIES = {
    "a refusal with the key": (401, {"code": "InvalidApiKey", "message": f"wrong key {KEY}", "request_id": KEY}),
    "a refusal with the URL": (400, {"code": "InvalidURL", "message": f"cannot fetch {SIGNED}"}),
    "no task in it": (200, {"result_url": SIGNED, "key": KEY, "data": {"upload_host": SIGNED, "policy": "TOPSECRET"}}),
    "another task": (203, {"output": {"task_id": "a b", "task_status": "SUCCEEDED", "video_url": SIGNED}}),
    "a page": (502, f"<html>{KEY} {SIGNED}</html>"),
    "text": (200, f"{KEY} {SIGNED}"),
}


@pytest.fixture
def answering(answers_alike: Callable[..., str]) -> Callable[[int, Any], str]:
    def start(status: int, body: Any) -> str:
        content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        return answers_alike(status, content, headers={"X-Request-Id": KEY}, reason=f"No {KEY}")

    return start


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize(("status", "body"), BAD_BODIES.values(), ids=BAD_BODIES)
def test_a_bad_answer(
    call: Callable[[Account], Any], status: int, body: Any, answering: Callable[[int, Any], str]
) -> None:
    with pytest.raises(WanError) as caught:
        call(Account(DASHSCOPE, answering(status, body), KEY))

    assert_nothing_shows(caught.value)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("trouble", ["refused", "silent", "slow", "unknown host", "illegal header"])
def test_no_answer(call: Callable[[Account], Any], trouble: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        fields: dict[str, Any] = {"base_url": f"http://127.0.0.1:{port}", "read_timeout": 0.1}
        if trouble == "refused":
            silent.close()
        elif trouble == "slow":
            fields |= {"read_timeout": 30.0, "total_timeout": 0.1}
        elif trouble == "unknown host":
            fields["base_url"] = "https://nonexistent.invalid"
        elif trouble == "illegal header":
            fields["workspace"] = f"two\nlines of {KEY}"

        with pytest.raises(WanError) as caught:
            call(Account(DASHSCOPE, api_key=KEY, **fields))

    assert_nothing_shows(caught.value)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_proxy_of_the_environment_that_cannot_be_used(
    call: Callable[[Account], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "ftp://user:TOPSECRET@127.0.0.1:1")

    with pytest.raises(WanError) as caught:
        call(Account(DASHSCOPE, "http://gateway.invalid", KEY))

    assert_nothing_shows(caught.value)


def test_a_request_that_is_no_json() -> None:
    request = VideoRequest({"model": "m", "input": {"prompt": "\ud83d", "media": [{"url": SIGNED}]}})

    with WanClient(Account(DASHSCOPE, "http://127.0.0.1:9", KEY)) as client, pytest.raises(WanError) as caught:
        client.create(request)

    assert_nothing_shows(caught.value)


LOOK_UPS: dict[str, Callable[[WanHook], Any]] = {
    "account": lambda hook: hook.account,
    "get_conn": lambda hook: hook.get_conn(),
    "get_async_account": lambda hook: asyncio.run(hook.get_async_account()),
    "get_async_conn": lambda hook: asyncio.run(hook.get_async_conn()),
}


# Connections ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"password": f"{KEY} with a space"},
        {"conn_type": "aws"},
        {"host": "ftp://api.apiyi.com"},
        {"host": "https://api.apiyi.com?token=TOPSECRET"},
        {"extra": {"gateway": "openai", "system_token": "TOPSECRET"}},
        {"extra": {"read_timeout": "soon", "system_token": "TOPSECRET"}},
        {"extra": {"workspace": "two\nlines", "system_token": "TOPSECRET"}},
        {"host": "https://elsewhere.example"},
    ],
)
@pytest.mark.parametrize("look_up", LOOK_UPS)
def test_a_connection_that_cannot_be_used(
    look_up: str, fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = {"conn_type": "wan", "password": KEY} | fields
    monkeypatch.setenv("AIRFLOW_CONN_WAN_DEFAULT", json.dumps(connection))
    hook = WanHook(base_url="https://api.apiyi.com")

    with pytest.raises(WanError) as caught:
        LOOK_UPS[look_up](hook)

    assert_nothing_shows(caught.value)


@pytest.mark.parametrize(("status", "body"), BAD_BODIES.values(), ids=BAD_BODIES)
def test_the_test_of_a_connection_tells_no_key(
    status: int, body: Any, answering: Callable[[int, Any], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = {"conn_type": "wan", "password": KEY, "host": answering(status, body)}
    monkeypatch.setenv("AIRFLOW_CONN_WAN_DEFAULT", json.dumps(connection))

    _, message = WanHook().test_connection()

    assert KEY not in message
    assert "TOPSECRET" not in message
