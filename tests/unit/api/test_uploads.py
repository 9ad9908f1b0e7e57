"""The client's uploads against the emulator's store, and against gateways and stores that misbehave."""

from __future__ import annotations

import io
import logging
from typing import TYPE_CHECKING, Any

import pytest

from airflow_wan.api.client import WanClient
from airflow_wan.api.gateways import APIYI, DASHSCOPE, create_call
from airflow_wan.exceptions import AuthenticationFailed, GatewayUnavailable, RateLimited, RequestRejected, WanError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from airflow_wan.api.gateways import Account
    from airflow_wan.emulator.testing import RunningEmulator

SECRET = "POLICYSECRET"


def granted(host: str, **changed: Any) -> dict[str, Any]:
    return {
        "policy": SECRET,
        "signature": SECRET,
        "upload_dir": "dashscope-instant/abc/2026-11-25",
        "upload_host": host,
        "expire_in_seconds": "300",
        "max_file_size_mb": "1",
        "oss_access_key_id": "LTAIxyz",
        "x_oss_object_acl": "private",
        "x_oss_forbid_overwrite": "true",
    } | changed


def upload(account: Account, content: bytes = b"content", name: str = "Ein Bild.PNG") -> str:
    with WanClient(account) as client:
        return client.upload(io.BytesIO(content), model="wan2.7-i2v", name=name, size=len(content))


def test_a_file_gets_a_unique_name_in_the_store(
    wan_emulator: RunningEmulator,
    account_at: Callable[..., Account],
) -> None:
    account = account_at(wan_emulator.base_url, DASHSCOPE)

    first, second = upload(account), upload(account, b"other")

    assert first != second
    assert first.startswith("oss://dashscope-instant/")
    assert first.endswith(".png")
    assert [(row["url"], row["bytes"], row["model"]) for row in wan_emulator.uploads()] == [
        (first, 7, "wan2.7-i2v"),
        (second, 5, "wan2.7-i2v"),
    ]


def test_only_a_plain_suffix_of_the_name_is_used(
    wan_emulator: RunningEmulator,
    account_at: Callable[..., Account],
) -> None:
    url = upload(account_at(wan_emulator.base_url, DASHSCOPE), name="../../x.png/..\r\nkey: y")

    assert "." not in url.rpartition("/")[2]


def test_the_store_does_not_get_the_key_of_the_gateway(raw_server: Any, account_at: Callable[..., Account]) -> None:
    raw_server.answers(200, {"output": granted(f"{raw_server.base_url}/store")})

    url = upload(account_at(raw_server.base_url, DASHSCOPE))

    asked, sent = raw_server.requests
    assert asked.startswith(b"GET /api/v1/uploads?action=getPolicy&model=wan2.7-i2v ")
    assert b"authorization: bearer" in asked.lower()
    assert sent.startswith(b"POST /store ")
    assert b"authorization" not in sent.lower()
    assert sent.rindex(b'name="file"') > sent.rindex(b'name="key"')
    assert url.removeprefix("oss://").encode() in sent


@pytest.mark.parametrize(
    "host",
    [
        "http://store.example.com",
        "ftp://127.0.0.1",
        "",
        "https://[",
        "http://127.0.0.1.example.com/",
        f"https://somebody:{SECRET}@store.example.com",
        f"http://127.0.0.1:9/store?sig={SECRET}",
    ],
)
def test_a_policy_is_sent_by_https_only(raw_server: Any, account_at: Callable[..., Account], host: str) -> None:
    raw_server.answers(200, {"data": granted(host)})

    with pytest.raises(GatewayUnavailable, match="upload_host") as raised:
        upload(account_at(raw_server.base_url, DASHSCOPE))

    assert len(raw_server.requests) == 1
    assert SECRET not in str(raised.value)


def test_no_log_line_shows_the_key_or_the_policy(
    raw_server: Any, account_at: Callable[..., Account], caplog: pytest.LogCaptureFixture
) -> None:
    raw_server.answers(200, {"data": granted(f"{raw_server.base_url}/store")})
    account = account_at(raw_server.base_url, DASHSCOPE)

    with caplog.at_level(logging.DEBUG), caplog.at_level(logging.DEBUG, logger="httpx"):
        upload(account)

    assert "/store" in caplog.text
    assert SECRET not in caplog.text
    assert account.api_key not in caplog.text


def test_a_file_is_read_only_as_fast_as_the_store_accepts_it(
    raw_server: Any, account_at: Callable[..., Account], tmp_path: Path
) -> None:
    size = 64 * 1024 * 1024
    with type(raw_server)() as store, (tmp_path / "long.mp4").open("w+b") as file:
        file.truncate(size)
        store.speaks_before_the_request(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        raw_server.answers(200, {"data": granted(store.base_url, max_file_size_mb="100")})

        with WanClient(account_at(raw_server.base_url, DASHSCOPE)) as client, pytest.raises(GatewayUnavailable):
            client.upload(file, model="wan2.7-i2v", name="long.mp4", size=size)

        # No more than what the two sockets hold has left the file.
        assert file.tell() < size / 2


def test_a_file_over_the_limit_of_the_policy_is_not_sent(raw_server: Any, account_at: Callable[..., Account]) -> None:
    raw_server.answers(200, {"data": granted(f"{raw_server.base_url}/store")})

    with pytest.raises(RequestRejected, match=r"2\.0 MB.* 1 MB"):
        upload(account_at(raw_server.base_url, DASHSCOPE), bytes(2 * 1024 * 1024))

    assert len(raw_server.requests) == 1


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, {"code": "InvalidApiKey", "message": "Invalid API-key provided."}, AuthenticationFailed),
        (429, {"code": "Throttling.RateQuota", "message": "Requests rate limit exceeded."}, RateLimited),
        (404, {"code": "ModelNotFound", "message": "Model not found."}, RequestRejected),
        (500, {"code": "InternalError", "message": "Try again."}, GatewayUnavailable),
        (200, {"code": "SystemError", "message": "Try again."}, GatewayUnavailable),
        (200, {"request_id": "1"}, GatewayUnavailable),
        (200, {"data": {"policy": SECRET}}, GatewayUnavailable),
        (502, b"<html>Bad gateway</html>", GatewayUnavailable),
    ],
)
def test_an_answer_without_a_policy_raises_the_error_that_it_means(
    raw_server: Any, account_at: Callable[..., Account], status: int, body: object, kind: type[WanError]
) -> None:
    raw_server.answers(status, body)

    with pytest.raises(kind) as raised:
        upload(account_at(raw_server.base_url, DASHSCOPE))

    assert type(raised.value) is kind
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (403, "AccessDenied", GatewayUnavailable),
        (400, "EntityTooLarge", RequestRejected),
        (409, "FileAlreadyExists", RequestRejected),
        (503, "ServiceUnavailable", GatewayUnavailable),
    ],
)
def test_a_refusal_of_the_store_shows_its_code_and_nothing_else(
    raw_server: Any,
    account_at: Callable[..., Account],
    status: int,
    code: str,
    kind: type[WanError],
) -> None:
    with type(raw_server)() as store:
        xml = f"<Error><Code>{code}</Code><StringToSign>{SECRET}</StringToSign></Error>"
        store.answers(status, xml.encode(), {"Content-Type": "application/xml"})
        raw_server.answers(200, {"data": granted(f"{store.base_url}/store")})

        with pytest.raises(kind, match=code) as raised:
            upload(account_at(raw_server.base_url, DASHSCOPE))

    assert type(raised.value) is kind
    assert SECRET not in str(raised.value)


def test_an_interrupted_upload_can_be_tried_again(raw_server: Any, account_at: Callable[..., Account]) -> None:
    with type(raw_server)() as store:
        store.resets()
        raw_server.answers(200, {"data": granted(f"{store.base_url}/store")})

        with pytest.raises(GatewayUnavailable, match="failed") as raised:
            upload(account_at(raw_server.base_url, DASHSCOPE))

    assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    ("inputs", "asked"),
    [
        ({"media": [{"type": "first_frame", "url": "oss://dashscope-instant/a.png"}]}, True),
        ({"media": [{"type": "reference_image", "url": "https://a/b", "reference_voice": "oss://c/d.wav"}]}, True),
        ({"img_url": "oss://dashscope-instant/a.png"}, True),
        ({"reference_urls": ["https://a/b.png", "oss://dashscope-instant/a.png"]}, True),
        ({"media": [{"type": "first_frame", "url": "https://a/b.png"}]}, False),
        ({"prompt": "oss://dashscope-instant/a.png", "negative_prompt": "oss://b"}, False),
    ],
)
def test_dashscope_gets_the_header_for_oss_urls_exactly_if_the_request_has_some(
    inputs: dict[str, Any], asked: bool
) -> None:
    body: dict[str, object] = {"model": "wan2.7-i2v", "input": inputs, "parameters": {}}

    assert ("X-DashScope-OssResourceResolve" in create_call(DASHSCOPE, body).headers) is asked
    assert "X-DashScope-OssResourceResolve" not in create_call(APIYI, body).headers
