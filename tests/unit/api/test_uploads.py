"""The client's uploads against the emulator's store, and against gateways and stores that misbehave."""

from __future__ import annotations

import io
import logging
import socket
from typing import TYPE_CHECKING, Any

import pytest

from airflow_wan.api.answers import Answer
from airflow_wan.api.client import WanClient, tls_context
from airflow_wan.api.gateways import APIYI, DASHSCOPE, create_call
from airflow_wan.api.uploads import read_policy, send_file
from airflow_wan.exceptions import (
    AuthenticationFailed,
    GatewayUnavailable,
    MediaUnreadable,
    RateLimited,
    RequestRejected,
    WanError,
)

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
        f"http://127.0.0.1:9/store#{SECRET}",
        "http://127.0.0.1:0/",
        "http://127.0.0.1:99999/",
        "https://store.example.com\r\nX-Key: 1/",
        "https://store.example.com/\r\nX-Key: 1",
        "https://st\xf6re.example.com/",
        "file:///tmp/store",
    ],
)
def test_a_policy_is_sent_to_a_plain_url_by_https_only(
    raw_server: Any, account_at: Callable[..., Account], host: str
) -> None:
    raw_server.answers(200, {"data": granted(host)})

    with pytest.raises(GatewayUnavailable, match="upload") as raised:
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

    assert "/api/v1/uploads?…" in caplog.text
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
        (200, b'{"data": {"signature": "%s", "upload_' % SECRET.encode(), GatewayUnavailable),
        (599, {"data": {"signature": SECRET}}, GatewayUnavailable),
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


# Where a policy may lead, and what a store may answer ----------------------------------------------------------------


def send(host: str, account: Account) -> str:
    """Upload to the host of a policy that a gateway gave."""
    policy = read_policy(Answer(200, {}, {"data": granted(host)}, ""), account)
    return send_file(policy, io.BytesIO(b"content"), name="a.png", size=7, account=account, tls=tls_context())


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "localhost", "169.254.169.254", "10.0.0.5", "[::1]", "[::ffff:10.0.0.5]", "2130706433"),
        *("100.100.100.200", "0.0.0.0", "inside.example"),
    ],
)
@pytest.mark.parametrize("scheme", ["https", "http"])
def test_a_gateway_on_the_internet_can_name_no_store_inside(
    account_at: Callable[..., Account], monkeypatch: pytest.MonkeyPatch, scheme: str, host: str
) -> None:
    contacted: list[Any] = []
    look_up = socket.getaddrinfo
    monkeypatch.setattr(socket.socket, "connect", lambda _, address: contacted.append(address))
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda name, *rest, **named: look_up("10.0.0.5" if name == "inside.example" else name, *rest, **named),
    )

    with pytest.raises(GatewayUnavailable, match=r"upload_host .* no file was sent"):
        send(f"{scheme}://{host}/store", account_at("https://93.184.216.34", DASHSCOPE))

    assert contacted == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_an_upload_follows_no_redirect(raw_server: Any, account_at: Callable[..., Account], status: int) -> None:
    with type(raw_server)() as other:
        raw_server.answers(status, b"", {"Location": f"{other.base_url}/store"})

        with pytest.raises(GatewayUnavailable, match=f"HTTP {status}"):
            send(raw_server.base_url, account_at(raw_server.base_url, DASHSCOPE))

    assert len(raw_server.requests) == 1
    assert other.requests == []


@pytest.mark.parametrize(
    "answer",
    [
        *(b"", b"garbage", b"HTTP/1.1 20000 OK\r\n\r\n", b"HTTP/1.1 102 Wait\r\n\r\n"),
        b"HTTP/1.1 500 \x1b[31m" + SECRET.encode() + b"\r\nContent-Length: 1000000000\r\n\r\n" + bytes(100_000),
        b"HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n<Code>" + SECRET.encode() + b" </Code>",
    ],
)
def test_whatever_the_store_answers_the_error_is_ours_and_shows_nothing_of_it(
    raw_server: Any, account_at: Callable[..., Account], answer: bytes
) -> None:
    raw_server.sends(answer)

    with pytest.raises(GatewayUnavailable) as raised:
        send(raw_server.base_url, account_at(raw_server.base_url, DASHSCOPE))

    assert SECRET not in str(raised.value)
    assert len(raw_server.requests) == 1


def test_a_store_that_drips_its_answer_is_left(raw_server: Any, account_at: Callable[..., Account]) -> None:
    raw_server.drips()

    with pytest.raises(GatewayUnavailable, match="too slow"):
        send(raw_server.base_url, account_at(raw_server.base_url, DASHSCOPE, total_timeout=0.2))


def test_a_file_that_becomes_shorter_is_not_sent_whole(raw_server: Any, account_at: Callable[..., Account]) -> None:
    raw_server.answers(200, {"data": granted(f"{raw_server.base_url}/store")})

    with (
        WanClient(account_at(raw_server.base_url, DASHSCOPE)) as client,
        pytest.raises(MediaUnreadable, match="shorter than 10 bytes"),
    ):
        client.upload(io.BytesIO(b"content"), model="wan2.7-i2v", name="a.png", size=10)


def test_of_a_file_that_becomes_longer_only_what_was_announced_is_sent(
    raw_server: Any, account_at: Callable[..., Account]
) -> None:
    raw_server.answers(200, {"data": granted(f"{raw_server.base_url}/store")})

    with WanClient(account_at(raw_server.base_url, DASHSCOPE)) as client:
        client.upload(io.BytesIO(b"content, and more"), model="wan2.7-i2v", name="a.png", size=7)

    assert b"\r\n\r\ncontent\r\n--" in raw_server.requests[-1]


@pytest.mark.parametrize("most", ["9" * 400, "1e9", "-1", "\u0663", 0.5, None, True, [1], {}])
def test_any_largest_size_can_be_read(account_at: Callable[..., Account], most: object) -> None:
    answer = Answer(200, {}, {"data": granted("https://store.example.com", max_file_size_mb=most)}, "")

    largest = read_policy(answer, account_at("https://93.184.216.34", DASHSCOPE)).largest_bytes

    assert largest is None or largest >= 0


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
