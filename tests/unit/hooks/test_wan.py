from __future__ import annotations

import asyncio
import json
import logging
import socket
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import redact
from airflow.providers.common.compat.version_compat import get_base_airflow_version_tuple

from airflow_wan.api.client import AsyncWanClient, WanClient
from airflow_wan.api.gateways import APIYI, DASHSCOPE, Account, Gateway
from airflow_wan.doctor.findings import Kind
from airflow_wan.exceptions import WanConnectionError
from airflow_wan.hooks.wan import WanHook

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_wan.emulator.testing import RunningEmulator

AIRFLOW = get_base_airflow_version_tuple()
KEY = "sk-hook-tests-0123456789"


@pytest.fixture
def define(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Defines the connection `wan_default` in the environment, as JSON from fields or as the URI given."""

    def to_environment(uri: str | None = None, **fields: Any) -> None:
        text = uri or json.dumps({"conn_type": "wan", "password": KEY} | fields)
        monkeypatch.setenv("AIRFLOW_CONN_WAN_DEFAULT", text)

    return to_environment


def looked_up() -> Account:
    return WanHook().account


def looked_up_async() -> Account:
    return asyncio.run(WanHook().get_async_account())


either_way = pytest.mark.parametrize("look_up", [looked_up, looked_up_async], ids=["sync", "async"])


# What a connection says ----------------------------------------------------------------------------------------------


@either_way
def test_a_key_alone_leads_to_apiyi(look_up: Callable[[], Account], define: Callable[..., None]) -> None:
    define()

    assert look_up() == Account(
        APIYI,
        "https://api.apiyi.com",
        KEY,
        None,
        connect_timeout=10.0,
        read_timeout=60.0,
        total_timeout=180.0,
        least_speed=1024.0,
    )


@either_way
def test_every_field_of_the_connection_counts(look_up: Callable[[], Account], define: Callable[..., None]) -> None:
    figures = {"connect_timeout": 2, "read_timeout": "30.5", "total_timeout": 90, "least_speed": "2e3"}
    extra = {"gateway": "dashscope", "workspace": " ws-1 ", "system_token": " token-1 ", **figures}
    define(host="https://proxy.example/wan/", extra=extra)

    assert look_up() == Account(
        DASHSCOPE,
        "https://proxy.example/wan",
        KEY,
        "ws-1",
        system_token="token-1",
        connect_timeout=2.0,
        read_timeout=30.5,
        total_timeout=90.0,
        least_speed=2000.0,
    )


@pytest.mark.parametrize(
    ("uri", "base_url", "gateway"),
    [
        (f"wan://:{KEY}@", "https://api.apiyi.com", APIYI),
        (f"wan://:{KEY}@https%3A%2F%2Fvip.apiyi.com", "https://vip.apiyi.com", APIYI),
        (f"wan://:{KEY}@https%3A%2F%2Fdashscope.aliyuncs.com", "https://dashscope.aliyuncs.com", DASHSCOPE),
        (f"wan://https://:{KEY}@dashscope-intl.aliyuncs.com", "https://dashscope-intl.aliyuncs.com", DASHSCOPE),
        (f"wan://http://:{KEY}@127.0.0.1:8765/?gateway=dashscope", "http://127.0.0.1:8765", DASHSCOPE),
        (f"wan://:{KEY}@/?gateway=dashscope", "https://dashscope.aliyuncs.com", DASHSCOPE),
    ],
)
def test_connections_written_as_uris(uri: str, base_url: str, gateway: Gateway, define: Callable[..., None]) -> None:
    define(uri)

    account = WanHook().account

    assert (account.base_url, account.gateway, account.api_key) == (base_url, gateway, KEY)


@pytest.mark.parametrize(
    ("host", "extra", "gateway"),
    [
        ("https://api.apiyi.com", {}, APIYI),
        ("https://gateway.example", {}, APIYI),
        ("https://dashscope-us.aliyuncs.com", {}, DASHSCOPE),
        ("https://ws.eu-central-1.maas.aliyuncs.com", {}, DASHSCOPE),
        ("https://proxy.example", {"gateway": "DashScope "}, DASHSCOPE),
        ("https://dashscope.aliyuncs.com", {"gateway": "apiyi"}, APIYI),
        ("https://api.apiyi.com", {"gateway": ""}, APIYI),
        ("https://api.apiyi.com", {"gateway": None}, APIYI),
    ],
)
def test_the_gateway_is_as_named_else_told_from_the_host(
    host: str, extra: dict[str, Any], gateway: Gateway, define: Callable[..., None]
) -> None:
    define(host=host, extra=extra)

    assert WanHook().account.gateway is gateway


@pytest.mark.parametrize(
    ("host", "port", "base_url"),
    [
        ("https://proxy.example", 8443, "https://proxy.example:8443"),
        ("https://proxy.example", 443, "https://proxy.example"),
        ("https://proxy.example:443/wan", None, "https://proxy.example/wan"),
        ("http://127.0.0.1", 80, "http://127.0.0.1"),
        ("https://[2001:db8::1]:443", None, "https://[2001:db8::1]"),
        ("https://proxy.example:9443", 8443, "https://proxy.example:9443"),
        ("https://proxy.example/wan", 8443, "https://proxy.example:8443/wan"),
        ("https://proxy.example//", None, "https://proxy.example"),
        ("  https://proxy.example ", None, "https://proxy.example"),
        ("https://[2001:db8::1]", 8443, "https://[2001:db8::1]:8443"),
        ("", None, "https://api.apiyi.com"),
    ],
)
def test_host_and_port_make_the_base_url(
    host: str, port: int | None, base_url: str, define: Callable[..., None]
) -> None:
    define(host=host, port=port)

    assert WanHook().account.base_url == base_url


DASHSCOPE_URL, APIYI_URL = "https://dashscope.aliyuncs.com", "https://api.apiyi.com"
WORKSPACE_URL = "https://ws-1.cn-beijing.maas.aliyuncs.com"
CREATE = "/api/v1/services/aigc/video-generation/video-synthesis"


@pytest.mark.parametrize(
    ("pasted", "base_url"),
    [
        *((DASHSCOPE_URL + path, DASHSCOPE_URL) for path in ("/", "//", "/api/v1", "/api/v1/", "/compatible-mode/v1")),
        *((DASHSCOPE_URL + path, DASHSCOPE_URL) for path in (CREATE, "/api/v1/tasks/abc", "/api/v2/apps", "/v1")),
        (f"{WORKSPACE_URL}/compatible-mode/v1/chat/completions", WORKSPACE_URL),
        (f"{WORKSPACE_URL}/api/v1/uploads", WORKSPACE_URL),
        *((APIYI_URL + path, APIYI_URL) for path in ("/v1", "/v1/", "/wan", "/wan/", "/wan/api/v1", f"/wan{CREATE}")),
        *((APIYI_URL + path, APIYI_URL) for path in ("/v1/tasks/abc", "/v1/chat/completions", "/v1/videos")),
        ("api.apiyi.com", APIYI_URL),
        ("api.apiyi.com/v1", APIYI_URL),
        ("//api.apiyi.com", APIYI_URL),
        ("https://https://api.apiyi.com", APIYI_URL),
        ("API.APIYI.com", APIYI_URL),
        ("HTTPS://Api.Apiyi.Com/V1".replace("V1", "v1"), APIYI_URL),
        ("https://api.apiyi.com.", APIYI_URL),
        ("'https://api.apiyi.com'", APIYI_URL),
        ("<https://api.apiyi.com/>", APIYI_URL),
        ("https%3A%2F%2Fapi.apiyi.com%2Fv1", APIYI_URL),
        ("dashscope-intl.aliyuncs.com", "https://dashscope-intl.aliyuncs.com"),
        ("127.0.0.1:8765", "http://127.0.0.1:8765"),
        ("localhost:8765/", "http://localhost:8765"),
        (f"https://relay.example/llm/wan{CREATE}", "https://relay.example/llm"),
        ("https://relay.example/llm/v1", "https://relay.example/llm"),
        ("https://relay.example/wan", "https://relay.example/wan"),
        ("https://relay.example/v10", "https://relay.example/v10"),
        ("https://relay.example/av1", "https://relay.example/av1"),
    ],
)
@either_way
def test_a_base_url_is_understood_however_it_was_pasted(
    look_up: Callable[[], Account], pasted: str, base_url: str, define: Callable[..., None]
) -> None:
    define(host=pasted)

    assert look_up().base_url == base_url


def test_a_proxys_own_path_stays_for_dashscope(define: Callable[..., None]) -> None:
    define(host="https://proxy.example/wan/api/v1", extra={"gateway": "dashscope"})

    assert WanHook().account.base_url == "https://proxy.example/wan"


def test_the_scheme_may_stand_in_its_own_field(define: Callable[..., None]) -> None:
    define(host="gateway.example", schema="http")

    assert WanHook().account.base_url == "http://gateway.example"


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("read_timout", "did you mean 'read_timeout'?"),
        ("totalTimeout", "did you mean 'total_timeout'?"),
        ("extra__wan__gateway", "did you mean 'gateway'?"),
        ("workspace_id", "did you mean 'workspace'?"),
        ("Gateway", "did you mean 'gateway'?"),
        ("proxy", "known are gateway, workspace,"),
    ],
)
def test_an_unknown_extra_is_named_with_the_nearest_known_one(
    name: str, meant: str, wan_emulator: RunningEmulator, define: Callable[..., None]
) -> None:
    define(host=wan_emulator.base_url, extra={name: "x"})

    (warning,) = WanHook().account.warnings
    good, message = WanHook().test_connection()

    assert good
    assert f"unknown field {name!r}" in warning
    assert meant in warning
    assert warning in message


@pytest.mark.parametrize("unset", [None, ""])
def test_an_empty_figure_is_the_default(unset: object, define: Callable[..., None]) -> None:
    define(extra=dict.fromkeys(("connect_timeout", "read_timeout", "total_timeout", "least_speed"), unset))

    assert WanHook().account == Account(APIYI, "https://api.apiyi.com", KEY)


def test_spaces_around_the_key_do_not_count(define: Callable[..., None]) -> None:
    define(password=f"  {KEY}\n")

    assert WanHook().account.api_key == KEY


def test_a_connection_is_looked_up_once_a_hook(define: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    define()
    hook = WanHook()
    first = hook.account
    monkeypatch.delenv("AIRFLOW_CONN_WAN_DEFAULT")

    assert hook.account is first


def test_another_connection_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_OTHER", json.dumps({"conn_type": "wan", "password": "sk-another-one"}))

    assert WanHook("other").account.api_key == "sk-another-one"


# Connections that cannot be used -------------------------------------------------------------------------------------


@either_way
def test_a_missing_connection_says_how_to_set_it(
    look_up: Callable[[], Account], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_WAN_DEFAULT", raising=False)

    with pytest.raises(WanConnectionError) as caught:
        look_up()

    told = str(caught.value)
    assert told.startswith("The Airflow connection 'wan_default' is not defined. Set it under Admin > Connections")
    example = told[told.index("AIRFLOW_CONN_WAN_DEFAULT='") :].partition("'")[2].rpartition("'")[0]
    assert json.loads(example)["conn_type"] == "wan"


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"password": ""}, "has no API key"),
        ({"password": None}, "has no API key"),
        ({"password": "   "}, "has no API key"),
        ({"password": "sk-two words-0123"}, "a space, a line break or a non-ASCII character"),
        ({"password": "sk-two\nlines-0123"}, "a space, a line break or a non-ASCII character"),
        ({"password": "sk-“quoted”-0123"}, "a space, a line break or a non-ASCII character"),
        ({"password": "sk-zero\u200bwidth-0123"}, "a space, a line break or a non-ASCII character"),
        ({"host": "https://{WorkspaceId}.cn-beijing.maas.aliyuncs.com"}, "which has a name to fill in"),
        ({"host": "https://<WorkspaceId>.cn-beijing.maas.aliyuncs.com"}, "which has a name to fill in"),
        ({"host": "${HOST}"}, "which has a name to fill in"),
        ({"host": "https://docs.apiyi.com/en"}, "which has pages for people"),
        ({"host": "bailian.console.aliyun.com"}, "which has pages for people"),
        ({"host": "https://api.apiyi.com/#wan"}, "a user, a password or a query in its host"),
        ({"host": "https://me:hunter2@gateway.example.com"}, "a user, a password or a query in its host"),
        ({"host": "https://gateway.example.com?token=hunter2"}, "a user, a password or a query in its host"),
        ({"host": "ftp://api.apiyi.com"}, "not a URL with a scheme"),
        ({"host": "https://"}, "not a URL with a scheme"),
        ({"host": "https://[apiyi"}, "not a URL with a scheme"),
        ({"host": "https://api.apiyi.com:https"}, "not a URL with a scheme"),
        ({"host": "https://api.apiyi.com:99999"}, "not a URL with a scheme"),
        ({"host": "https://api. apiyi.com"}, "not a URL with a scheme"),
        pytest.param(
            {"extra": [1]},
            "has an extra that is no JSON object",
            marks=pytest.mark.skipif(AIRFLOW < (3, 2), reason="such a connection is not defined for this Airflow"),
        ),
        ({"extra": {"gateway": "openai"}}, "the gateway 'openai' in its extra; it must be apiyi or dashscope"),
        ({"extra": {"gateway": 7}}, "the gateway 7 in its extra"),
        ({"extra": {"workspace": "ws\n1"}}, "which is not a workspace id"),
        ({"extra": {"system_token": "hunter2 and more"}}, "has a system_token with a space"),
        *(
            ({"extra": {name: value}}, f"has {name}={value!r} in its extra; it must be a positive number of {unit}")
            for name, unit in (
                ("connect_timeout", "seconds, at most 86400"),
                ("read_timeout", "seconds, at most 86400"),
                ("total_timeout", "seconds, at most 86400"),
                ("least_speed", "bytes per second, at most 1e+09"),
            )
            for value in ("soon", 0, -1, "inf", "nan", [5], 1e300, 10**400)
        ),
    ],
)
@either_way
def test_a_connection_that_cannot_be_used_says_why_and_how_to_set_it(
    look_up: Callable[[], Account], fields: dict[str, Any], complaint: str, define: Callable[..., None]
) -> None:
    define(**fields)

    with pytest.raises(WanConnectionError) as caught:
        look_up()

    assert complaint in str(caught.value)
    assert "Admin > Connections" in str(caught.value)
    assert "0123" not in f"{caught.value} {caught.value!r}"


@pytest.mark.parametrize(
    ("host", "warned"),
    [("http://gateway.example", True), ("http://127.0.0.1:9", False), ("https://gateway.example", False)],
)
def test_a_key_sent_in_the_clear_is_warned_about(
    host: str, warned: Any, define: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    define(host=host)

    with caplog.at_level(logging.WARNING):
        warnings = WanHook().account.warnings

    assert ("sends its API key unencrypted" in " ".join(warnings)) is warned
    assert caplog.text == ""  # whoever buys with it says so, once


# A key goes to its own connection's host, and nowhere else ------------------------------------------------------------


@pytest.mark.parametrize(
    "elsewhere",
    [
        "https://vip.apiyi.com",
        "http://api.apiyi.com",
        "https://api.apiyi.com:8443",
        "https://api.apiyi.com.evil.example",
        "https://API.APIYI.COM",
        "https://dashscope.aliyuncs.com",
        "http://127.0.0.1:9",
        "https://evil.example/?https://api.apiyi.com",
        "",
    ],
)
@pytest.mark.parametrize("sync", [True, False])
def test_a_key_is_sent_to_no_host_but_its_connections_own(
    sync: bool, elsewhere: str, define: Callable[..., None]
) -> None:
    define(host="https://api.apiyi.com")
    hook = WanHook(base_url=elsewhere)

    with pytest.raises(WanConnectionError, match=r"now leads to https://api\.apiyi\.com") as caught:
        _ = hook.account if sync else asyncio.run(hook.get_async_account())

    assert KEY not in str(caught.value)
    with pytest.raises(WanConnectionError):
        WanHook().for_purchase("wan_default", elsewhere)


def test_a_task_is_asked_for_at_the_host_that_is_still_the_connections(define: Callable[..., None]) -> None:
    define(host="https://api.apiyi.com")

    assert WanHook(base_url="https://api.apiyi.com").account.base_url == "https://api.apiyi.com"
    assert WanHook().for_purchase("wan_default", "https://api.apiyi.com").account.api_key == KEY


@pytest.mark.parametrize("conn_type", ["aws", "http", "generic", "WAN", ""])
@either_way
def test_a_connection_of_another_type_is_not_used(
    look_up: Callable[[], Account], conn_type: str, define: Callable[..., None]
) -> None:
    define(conn_type=conn_type)

    with pytest.raises(WanConnectionError, match="not 'wan'") as caught:
        look_up()

    assert KEY not in str(caught.value)


# Clients -------------------------------------------------------------------------------------------------------------


def test_a_client_for_a_worker_and_one_for_the_event_loop(define: Callable[..., None]) -> None:
    define()

    with WanHook().get_conn() as client:
        assert isinstance(client, WanClient)

    async def open_and_close() -> None:
        async with await WanHook().get_async_conn() as client:
            assert isinstance(client, AsyncWanClient)

    asyncio.run(open_and_close())


def read_account(hook: WanHook) -> None:
    assert hook.account


def open_client(hook: WanHook) -> None:
    with hook.get_conn():
        pass


def open_async_client(hook: WanHook) -> None:
    async def opening() -> None:
        async with await hook.get_async_conn():
            pass

    asyncio.run(opening())


# Airflow masks a password as it is stored. Stripped of spaces it is another text, which the hook masks too.
@pytest.mark.parametrize(
    ("connect", "padding"),
    [(connect, padding) for connect in (read_account, open_client, open_async_client) for padding in ("", " ")],
)
def test_the_key_is_masked_in_airflows_logs(
    connect: Callable[[WanHook], None], padding: str, define: Callable[..., None]
) -> None:
    key = f"masked-{connect.__name__}-{len(padding)}-0123456789"
    define(password=padding + key)
    assert redact(f"key={key}!") == f"key={key}!"

    connect(WanHook())

    assert redact(f"key={key}!") == "key=***!"


def test_no_text_of_a_hook_shows_the_key(define: Callable[..., None]) -> None:
    define()
    hook = WanHook()

    assert KEY not in f"{hook.account} {hook!r} {hook.account!r}"


# The button "test connection" ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["apiyi", "dashscope"])
def test_a_good_key_is_found_good_and_nothing_is_ordered(
    name: str, wan_emulator: RunningEmulator, define: Callable[..., None]
) -> None:
    define(host=wan_emulator.base_url, extra={"gateway": name})

    good, message = WanHook().test_connection()

    assert good
    assert message.endswith(f"at {wan_emulator.base_url} answers in its own words and did not refuse the key.")
    assert wan_emulator.requests() == []
    assert wan_emulator.ledger() == []


@pytest.mark.parametrize("name", ["apiyi", "dashscope"])
def test_a_wrong_key_is_found_wrong(name: str, wan_emulator: RunningEmulator, define: Callable[..., None]) -> None:
    define(host=wan_emulator.base_url, extra={"gateway": name}, password="no-such-key-0123456789")

    good, message = WanHook().test_connection()

    assert not good
    assert f"at {wan_emulator.base_url} refuses the key" in message
    assert "no-such-key" not in message


def test_the_test_of_a_connection_tells_what_the_doctor_finds_but_its_notes(
    wan_emulator: RunningEmulator, define: Callable[..., None]
) -> None:
    define(host=wan_emulator.base_url, extra={"gatway": "dashscope"})

    findings = WanHook().examine()
    good, message = WanHook().test_connection()

    assert [finding.kind for finding in findings] == [Kind.UNKNOWN_EXTRA, Kind.GOOD, Kind.NOT_SEEN]
    assert good
    assert message == f"{findings[0].title} {findings[0].advice} {findings[1].title}"


def test_a_host_that_cannot_be_reached_is_told_from_a_wrong_key(define: Callable[..., None]) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        define(host=f"http://127.0.0.1:{probe.getsockname()[1]}")

        good, message = WanHook().test_connection()

    assert not good
    assert "Connection refused" in message
    assert "Check the host's name and port" in message
    assert KEY not in message


@pytest.mark.parametrize("name", ["apiyi", "dashscope"])
def test_a_web_server_that_is_no_gateway_is_not_found_good(
    name: str, answers_alike: Callable[..., str], define: Callable[..., None]
) -> None:
    define(host=answers_alike(200, b"<html>Welcome</html>"), extra={"gateway": name})

    good, message = WanHook().test_connection()

    assert not good
    assert "does not answer as" in message
    assert "Set the host to the gateway's own" in message


@pytest.mark.parametrize("fields", [{"password": ""}, {"host": "ftp://api.apiyi.com"}, {"host": "https://["}])
def test_a_connection_that_cannot_be_used_fails_its_test_with_the_reason(
    fields: dict[str, str], define: Callable[..., None]
) -> None:
    define(**fields)

    good, message = WanHook().test_connection()

    assert not good
    assert message.startswith("The Airflow connection 'wan_default' has ")


def test_a_missing_connection_fails_its_test_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_WAN_DEFAULT", raising=False)

    (finding,) = WanHook().examine()
    good, message = WanHook().test_connection()

    assert finding.kind is Kind.NOT_DEFINED
    assert not good
    assert "is not defined" in message


def test_the_connection_of_another_type_is_sent_nowhere(
    wan_emulator: RunningEmulator, define: Callable[..., None]
) -> None:
    define(conn_type="http", host=wan_emulator.base_url)

    (finding,) = WanHook().examine()

    assert finding.kind is Kind.OTHER_TYPE
    assert wan_emulator.counts()["poll"]["requests"] == 0


# A kill --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What hooks log. Airflow gives them a logger that pytest does not see."""
    lines: list[str] = []

    def write(text: str, *args: object) -> None:
        lines.append(text % args)

    monkeypatch.setattr(WanHook, "log", SimpleNamespace(info=write, warning=write))
    return lines


def test_a_kill_says_that_a_task_left_alone_may_be_billed(define: Callable[..., None], said: list[str]) -> None:
    define(host="http://127.0.0.1:9")

    WanHook().cancel_task("wan-task-1", wanted=False)

    assert "wan-task-1 is left running at the gateway, and may be billed" in said[0]


def test_a_kill_says_that_apiyi_cannot_cancel(define: Callable[..., None], said: list[str]) -> None:
    define(host="http://127.0.0.1:9", extra={"gateway": "apiyi"})

    WanHook().cancel_task("wan-task-1", wanted=True)

    assert "wan-task-1 goes on and may be billed: APIYI cannot cancel" in said[0]


@pytest.mark.parametrize("fault", ["unreachable", "undefined"])
def test_a_cancel_that_fails_is_told_and_raises_nothing(
    fault: str, define: Callable[..., None], said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    define(host="http://127.0.0.1:9", extra={"gateway": "dashscope"})
    if fault == "undefined":
        monkeypatch.delenv("AIRFLOW_CONN_WAN_DEFAULT")

    WanHook().cancel_task("wan-task-1", wanted=True)

    assert "wan-task-1 could not be canceled and may go on and be billed" in said[0]
    assert KEY not in said[0]
