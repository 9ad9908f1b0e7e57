"""Each finding of the doctor, produced by a real gateway, host, proxy or network; nothing is created for any."""

from __future__ import annotations

import json
import re
import socket
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from airflow_wan.api.accounts import ConnectionFields, read_account
from airflow_wan.api.client import WanClient
from airflow_wan.api.gateways import Account
from airflow_wan.api.requests import VideoRequest
from airflow_wan.doctor.examination import examine
from airflow_wan.doctor.findings import Finding, Kind, Severity, has_problem
from airflow_wan.doctor.regions import REGIONS
from airflow_wan.doctor.verdict import NO_TASK
from airflow_wan.emulator.testing import AT_ONCE, Settings
from airflow_wan.exceptions import AuthenticationFailed, BalanceExhausted

if TYPE_CHECKING:
    from collections.abc import Callable
    from http.server import BaseHTTPRequestHandler

    from file_host import FileHost, Proxy
    from raw_server import RawServer

    from airflow_wan.emulator.testing import RunningEmulator

KEY = "sk-doctor-tests-0123456789"
POLL_PATHS = {"apiyi": f"/v1/tasks/{NO_TASK}", "dashscope": f"/api/v1/tasks/{NO_TASK}"}
UNKNOWN = {"request_id": "r", "output": {"task_id": NO_TASK, "task_status": "UNKNOWN"}}
HTML = b"<html><h1>Welcome</h1></html>"

PRODUCED: set[Kind] = set()

on_each_gateway = pytest.mark.parametrize("gateway", POLL_PATHS)


def produces(*kinds: Kind) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Note which findings a test produces."""

    def note(test: Callable[..., None]) -> Callable[..., None]:
        PRODUCED.update(kinds)
        return test

    return note


def kinds_of(findings: list[Finding]) -> list[Kind]:
    for finding in findings:
        assert KEY not in f"{finding!r}"
        assert finding.title.strip()
        assert finding.advice.endswith(".")
    return [finding.kind for finding in findings]


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def problem(findings: list[Finding]) -> Finding:
    """Return the one problem that was found, and nothing else."""
    kinds_of(findings)
    (found,) = findings
    assert found.severity is Severity.PROBLEM
    return found


# Good connections -----------------------------------------------------------------------------------------------------


class TestGood:
    @pytest.fixture
    def wan_emulator_settings(self) -> Settings:
        return replace(AT_ONCE, create_qps=5, running=3, balance_usd=12.5)

    @produces(Kind.GOOD, Kind.LIMITS, Kind.NOT_SEEN)
    def test_a_dashscope_key_is_good_and_its_limits_are_told(
        self, wan_emulator: RunningEmulator, connection: Callable[..., ConnectionFields]
    ) -> None:
        findings = examine(connection(wan_emulator.base_url, "dashscope"))

        assert kinds_of(findings) == [Kind.GOOD, Kind.LIMITS, Kind.NOT_SEEN]
        assert f"DashScope at {wan_emulator.base_url} answers" in findings[0].title
        assert "5 creates in 1 s, 3 tasks at a time for each of wan" in findings[1].title
        assert not has_problem(findings)

    def test_an_apiyi_key_is_good(
        self, wan_emulator: RunningEmulator, connection: Callable[..., ConnectionFields]
    ) -> None:
        assert kinds_of(examine(connection(wan_emulator.base_url))) == [Kind.GOOD, Kind.NOT_SEEN]

    @produces(Kind.BALANCE)
    def test_a_system_token_tells_the_balance(
        self, wan_emulator: RunningEmulator, connection: Callable[..., ConnectionFields]
    ) -> None:
        findings = examine(connection(wan_emulator.base_url, system_token="token-1"))

        assert kinds_of(findings) == [Kind.GOOD, Kind.BALANCE, Kind.NOT_SEEN]
        assert "12.50 USD" in findings[1].title

    @on_each_gateway
    def test_nothing_is_created_and_each_question_is_asked_once(
        self, gateway: str, wan_emulator: RunningEmulator, connection: Callable[..., ConnectionFields]
    ) -> None:
        examine(connection(wan_emulator.base_url, gateway, system_token="token-1"))

        assert (wan_emulator.requests(), wan_emulator.ledger()) == ([], [])
        assert {name: row["requests"] for name, row in wan_emulator.counts().items() if row["requests"]} == {"poll": 1}


@on_each_gateway
def test_a_gateway_that_does_not_tell_limits_or_models_is_good_all_the_same(
    gateway: str, answers_alike: Callable[..., str], connection: Callable[..., ConnectionFields]
) -> None:
    host = answers_alike(200, json.dumps(UNKNOWN).encode())

    assert kinds_of(examine(connection(host, gateway))) == [Kind.GOOD, Kind.NOT_SEEN]


@pytest.mark.parametrize(
    "body", [b'{"code": "task_not_exist", "message": "m"}', b'{"error": {"code": "task_not_exist"}}']
)
def test_new_apis_words_for_no_such_task_are_good(
    body: bytes, answers_alike: Callable[..., str], connection: Callable[..., ConnectionFields]
) -> None:
    assert Kind.GOOD in kinds_of(examine(connection(answers_alike(400, body))))


# The key and its account ----------------------------------------------------------------------------------------------


class TestKeys:
    @pytest.fixture
    def wan_emulator_settings(self) -> Settings:
        return replace(
            AT_ONCE,
            rejected_keys=frozenset({KEY}),
            system_token="the-right-one",
            ungrouped_keys=frozenset({"sk-of-another-group"}),
            balance_usd=0.0,
        )

    @on_each_gateway
    @produces(Kind.WRONG_KEY)
    def test_a_key_that_is_refused(
        self, gateway: str, wan_emulator: RunningEmulator, connection: Callable[..., ConnectionFields]
    ) -> None:
        found = problem(examine(connection(wan_emulator.base_url, gateway)))

        assert found.kind is Kind.WRONG_KEY
        assert f"at {wan_emulator.base_url} refuses the key: HTTP 401" in found.title
        assert "--other-regions" not in found.title  # the emulator is none of Alibaba's hosts

    @produces(Kind.WRONG_GROUP)
    def test_a_token_of_another_group_is_told_by_its_models_and_by_the_create(
        self, wan_emulator: RunningEmulator, connection: Callable[..., ConnectionFields]
    ) -> None:
        fields = connection(wan_emulator.base_url, key="sk-of-another-group")

        findings = examine(fields)

        assert [finding.kind for finding in findings] == [Kind.WRONG_GROUP, Kind.GOOD, Kind.NOT_SEEN]
        assert "names the models that the key may use (1): none is of Wan" in findings[0].title
        with pytest.raises(AuthenticationFailed, match=r"该模型无可用渠道.* needs the group 'Wan&HappyHorse'"):
            create(fields)

    @produces(Kind.SYSTEM_TOKEN_REFUSED)
    def test_a_system_token_that_is_refused(
        self, wan_emulator: RunningEmulator, connection: Callable[..., ConnectionFields]
    ) -> None:
        findings = examine(connection(wan_emulator.base_url, key="sk-good-0123456789", system_token="wrong"))

        assert kinds_of(findings) == [Kind.SYSTEM_TOKEN_REFUSED, Kind.GOOD, Kind.NOT_SEEN]

    @produces(Kind.NO_BALANCE)
    def test_an_account_without_money_is_told_to_the_system_token(
        self, wan_emulator: RunningEmulator, connection: Callable[..., ConnectionFields]
    ) -> None:
        findings = examine(connection(wan_emulator.base_url, key="sk-good-0123456789", system_token="the-right-one"))

        assert kinds_of(findings) == [Kind.NO_BALANCE, Kind.GOOD, Kind.NOT_SEEN]
        assert has_problem(findings)


def create(fields: ConnectionFields) -> None:
    account = read_account(fields)
    assert isinstance(account, Account)
    body = {"model": "wan2.7-t2v", "input": {"prompt": "a kite"}, "parameters": {"resolution": "720P", "duration": 2}}
    with WanClient(account) as client:
        client.create(VideoRequest(body))


def test_a_used_up_free_quota_shows_at_the_create_which_says_what_to_do(
    wan_emulator: RunningEmulator, connection: Callable[..., ConnectionFields]
) -> None:
    fields = connection(wan_emulator.base_url, "dashscope")
    wan_emulator.add_fault("create", "free_quota_used_up")

    assert Kind.NOT_SEEN in kinds_of(examine(fields))
    with pytest.raises(BalanceExhausted, match=r"FreeTierOnly.* set to use nothing else: switch that off") as caught:
        create(fields)

    assert caught.value.billed is False
    assert wan_emulator.ledger() == []


REFUSALS = {
    Kind.FREE_QUOTA_USED_UP: (403, "AllocationQuota.FreeTierOnly"),
    Kind.NO_BALANCE: (400, "Arrearage"),
    Kind.WRONG_WORKSPACE: (403, "Workspace.AccessDenied"),
    Kind.WRONG_KEY: (401, "InvalidApiKey"),
    Kind.OUTAGE: (500, "InternalError"),
}


@pytest.mark.parametrize(("kind", "answer"), REFUSALS.items())
@produces(*REFUSALS)
def test_a_read_that_is_refused_in_a_gateways_words(
    kind: Kind,
    answer: tuple[int, str],
    answers_alike: Callable[..., str],
    connection: Callable[..., ConnectionFields],
) -> None:
    status, code = answer
    host = answers_alike(status, json.dumps({"code": code, "message": "m", "request_id": "r"}).encode())

    (found,) = examine(connection(host, "dashscope"))

    assert found.kind is kind
    assert f"HTTP {status}: [{code}] m" in found.title


def test_what_a_key_begins_with_tells_that_it_is_of_a_token_plan(
    answers_alike: Callable[..., str], connection: Callable[..., ConnectionFields]
) -> None:
    host = answers_alike(401, b'{"code": "InvalidApiKey", "message": "m", "request_id": "r"}')

    (found,) = examine(connection(host, "dashscope", key="sk-sp-0123456789abcdef"))

    assert "belong to a token plan" in found.title
    assert "0123456789" not in found.title


@pytest.mark.parametrize("says", [f'"message": "no such key {KEY}"', f'"message": "m", "request_id": "{KEY}"'])
def test_a_gateway_that_repeats_the_key_is_not_quoted(
    says: str, answers_alike: Callable[..., str], connection: Callable[..., ConnectionFields]
) -> None:
    host = answers_alike(401, f'{{"code": "InvalidApiKey", {says}}}'.encode(), headers={"Content-Type": KEY})

    assert kinds_of(examine(connection(host, "dashscope"))) == [Kind.WRONG_KEY]


# Regions --------------------------------------------------------------------------------------------------------------


class TestRegions:
    @pytest.fixture
    def wan_emulator_settings(self) -> Settings:
        return replace(AT_ONCE, key_regions=((KEY, "ap-southeast-1"), ("sk-of-frankfurt", "eu-central-1")))

    @pytest.fixture
    def alibaba(
        self,
        wan_emulator: RunningEmulator,
        tls_host: Callable[..., FileHost],
        proxied: Callable[[FileHost], Proxy],
    ) -> Proxy:
        """Make the emulator every host of Alibaba, behind a proxy; it keeps which hosts were asked for."""

        def relay(handler: BaseHTTPRequestHandler) -> None:
            # The emulator knows no workspaces; this one has keys of its own.
            headers = dict(handler.headers)
            if headers["Host"].startswith("ws-1."):
                headers["Authorization"] = "Bearer none"
            answer = httpx.get(wan_emulator.base_url + handler.path, headers=headers, trust_env=False)
            handler.send_response(answer.status_code)
            handler.send_header("Content-Type", "application/json")
            handler.send_header("Content-Length", str(len(answer.content)))
            handler.end_headers()
            handler.wfile.write(answer.content)

        host = tls_host(*(region.host for region in REGIONS), "ws-1.ap-southeast-1.maas.aliyuncs.com")
        for path in (POLL_PATHS["dashscope"], "/api/v1/quotas"):
            host.answers[path] = relay
        return proxied(host)

    @produces(Kind.WRONG_REGION)
    def test_a_right_key_at_another_regions_host(
        self, alibaba: Proxy, connection: Callable[..., ConnectionFields]
    ) -> None:
        found = problem(examine(connection("https://dashscope.aliyuncs.com"), ask_other_regions=True))

        assert found.kind is Kind.WRONG_REGION
        assert "https://dashscope-intl.aliyuncs.com (Singapore) does not" in found.title
        asked = [target.partition(":")[0] for target, _ in alibaba.requests]
        assert asked == ["dashscope.aliyuncs.com", "dashscope-intl.aliyuncs.com"]

    def test_a_key_is_sent_to_its_own_host_only_unless_other_regions_are_wanted(
        self, alibaba: Proxy, connection: Callable[..., ConnectionFields]
    ) -> None:
        found = problem(examine(connection("https://dashscope.aliyuncs.com")))

        assert found.kind is Kind.WRONG_KEY
        assert "--other-regions` tells whether it is of another region" in found.title
        assert {target for target, _ in alibaba.requests} == {"dashscope.aliyuncs.com:443"}

    def test_a_key_of_no_region_with_a_shared_host_stays_a_wrong_key(
        self, alibaba: Proxy, connection: Callable[..., ConnectionFields]
    ) -> None:
        found = problem(
            examine(connection("https://dashscope.aliyuncs.com", key="sk-of-frankfurt"), ask_other_regions=True)
        )

        assert found.kind is Kind.WRONG_KEY
        assert len(alibaba.requests) == len(REGIONS)

    def test_a_key_that_is_good_at_the_shared_host_of_its_region_is_of_another_workspace(
        self, alibaba: Proxy, connection: Callable[..., ConnectionFields]
    ) -> None:
        host = "https://ws-1.ap-southeast-1.maas.aliyuncs.com"

        assert problem(examine(connection(host), ask_other_regions=True)).kind is Kind.WRONG_WORKSPACE


def test_a_relay_is_never_left_for_alibabas_hosts(
    answers_alike: Callable[..., str], connection: Callable[..., ConnectionFields], names: dict[str, Any]
) -> None:
    host = answers_alike(401, b'{"code": "InvalidApiKey", "message": "m", "request_id": "r"}')

    assert kinds_of(examine(connection(host, "dashscope"), ask_other_regions=True)) == [Kind.WRONG_KEY]


# Hosts that are no gateway --------------------------------------------------------------------------------------------

STRANGERS = {
    "nginx": (404, b"<html><h1>404 Not Found</h1></html>"),
    "a web page": (200, HTML),
    "nothing": (204, b""),
    "another API": (404, b'{"detail": "Not Found"}'),
    "another API's wall": (401, b'{"detail": "Unauthorized"}'),
    "an error of another form": (401, b'{"error": {"message": "Unauthorized"}}'),
    "new-api without the route": (
        404,
        b'{"error": {"message": "Invalid URL (GET /v1/tasks/x)", "type": "invalid_request_error"}}',
    ),
    "JSON of another kind": (200, b'{"status": "ok"}'),
    "a server that does not know how it is": (200, b'{"status": "unknown"}'),
    "a health check": (200, b"ok"),
    "a wall": (403, b"<html>Forbidden</html>"),
    "a crash": (500, b"<html>Internal Server Error</html>"),
    "another crash": (500, b"{}"),
    "a task of that id": (200, b'{"task_id": "x", "status": "completed", "result_url": "https://h.example/a.mp4"}'),
    "a redirect": (301, b""),
    "a list": (200, b"[]"),
}


@on_each_gateway
@pytest.mark.parametrize(("status", "body"), STRANGERS.values(), ids=STRANGERS)
@produces(Kind.NO_GATEWAY)
def test_a_web_server_that_is_no_gateway(
    gateway: str,
    status: int,
    body: bytes,
    answers_alike: Callable[..., str],
    connection: Callable[..., ConnectionFields],
) -> None:
    found = problem(examine(connection(answers_alike(status, body), gateway)))

    assert found.kind is Kind.NO_GATEWAY
    assert f"HTTP {status}" in found.title


@on_each_gateway
@produces(Kind.OTHER_GATEWAY)
def test_the_other_gateway_is_recognised(
    gateway: str, connection: Callable[..., ConnectionFields], host: FileHost
) -> None:
    other = next(name for name in POLL_PATHS if name != gateway)
    host.serves(POLL_PATHS[gateway], 404, HTML)
    host.serves(POLL_PATHS[other], 200, json.dumps(UNKNOWN).encode())

    found = problem(examine(connection(host.base_url, gateway)))

    assert found.kind is Kind.OTHER_GATEWAY
    assert [path for path, _ in host.requests] == [POLL_PATHS[gateway], POLL_PATHS[other]]


def test_nothing_but_gets_are_sent_to_a_stranger(
    raw_server: RawServer, connection: Callable[..., ConnectionFields]
) -> None:
    raw_server.answers(404, HTML)

    examine(connection(raw_server.base_url, connect_timeout=1))

    methods = [request.split(b" ", 1)[0] for request in raw_server.requests if request.startswith(b"G")]
    assert methods == [b"GET", b"GET"]
    assert not [request for request in raw_server.requests if b"POST" in request]


@on_each_gateway
@pytest.mark.parametrize("fault", ["server_error", "unavailable", "bad_gateway", "gateway_timeout"])
@produces(Kind.OUTAGE)
def test_a_gateway_in_trouble(
    fault: str, gateway: str, wan_emulator: RunningEmulator, connection: Callable[..., ConnectionFields]
) -> None:
    wan_emulator.add_fault("poll", fault)

    assert problem(examine(connection(wan_emulator.base_url, gateway))).kind is Kind.OUTAGE


@on_each_gateway
@produces(Kind.THROTTLED)
def test_a_throttled_question_says_nothing_of_the_key(
    gateway: str, wan_emulator: RunningEmulator, connection: Callable[..., ConnectionFields]
) -> None:
    wan_emulator.add_fault("poll", "throttled")

    assert problem(examine(connection(wan_emulator.base_url, gateway))).kind is Kind.THROTTLED


@on_each_gateway
@produces(Kind.CLOCK_SKEW)
def test_a_clock_that_is_slow(
    gateway: str, wan_emulator: RunningEmulator, connection: Callable[..., ConnectionFields]
) -> None:
    wan_emulator.advance_clock(7200)

    findings = examine(connection(wan_emulator.base_url, gateway))

    assert kinds_of(findings)[:2] == [Kind.CLOCK_SKEW, Kind.GOOD]
    behind = re.search(r"is (\d+) s behind that of", findings[0].title)
    assert behind is not None
    assert 7000 < int(behind[1]) <= 7200


@pytest.mark.parametrize(
    ("date", "is_told"),
    [(formatdate(946684800, usegmt=True), True), ("soon", False), ("9" * 500, False), ("Thu, 01 Jan", False)],
)
def test_a_clock_that_is_fast_and_dates_that_cannot_be_read(
    date: str, is_told: Any, answers_alike: Callable[..., str], connection: Callable[..., ConnectionFields]
) -> None:
    host = answers_alike(200, json.dumps(UNKNOWN).encode(), headers={"Date": date})

    findings = examine(connection(host))

    assert (Kind.CLOCK_SKEW in kinds_of(findings)) is is_told
    assert ("s ahead of that of" in findings[0].title) is is_told


# The way to the host --------------------------------------------------------------------------------------------------


@produces(Kind.UNKNOWN_NAME)
def test_a_name_that_cannot_be_resolved(
    names: dict[str, list[list[str]]], connection: Callable[..., ConnectionFields]
) -> None:
    found = problem(examine(connection("https://api.apiyi.co")))

    assert found.kind is Kind.UNKNOWN_NAME
    assert "https://api.apiyi.co" in found.title


@produces(Kind.REFUSED)
def test_a_port_where_nothing_listens(connection: Callable[..., ConnectionFields]) -> None:
    assert problem(examine(connection(f"http://127.0.0.1:{closed_port()}"))).kind is Kind.REFUSED


@produces(Kind.TOO_LATE)
def test_a_host_that_says_nothing(raw_server: RawServer, connection: Callable[..., ConnectionFields]) -> None:
    raw_server.says_nothing()

    assert problem(examine(connection(raw_server.base_url, read_timeout=0.2))).kind is Kind.TOO_LATE


def test_a_host_that_drips_does_not_hold_the_doctor(
    raw_server: RawServer, connection: Callable[..., ConnectionFields]
) -> None:
    raw_server.drips(before=b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")

    found = problem(examine(connection(raw_server.base_url, total_timeout=0.3)))

    assert found.kind is Kind.TOO_LATE
    assert "within 0.3 s" in found.title


@pytest.mark.parametrize(
    "misbehave", [lambda server: server.resets(), lambda server: server.hangs_up(), lambda s: s.sends(b"SSH-2.0-x\r\n")]
)
@produces(Kind.BROKEN_OFF)
def test_a_connection_that_is_broken_off(
    misbehave: Callable[[RawServer], None], raw_server: RawServer, connection: Callable[..., ConnectionFields]
) -> None:
    misbehave(raw_server)

    assert problem(examine(connection(raw_server.base_url, connect_timeout=1))).kind is Kind.BROKEN_OFF


@produces(Kind.TLS_UNTRUSTED)
def test_a_self_signed_certificate(
    tls_host: Callable[..., FileHost], connection: Callable[..., ConnectionFields]
) -> None:
    found = problem(examine(connection(tls_host("127.0.0.1", trusted=False).base_url)))

    assert found.kind is Kind.TLS_UNTRUSTED
    assert "self-signed certificate" in found.title


@produces(Kind.TLS_OTHER_NAME)
def test_a_certificate_for_another_name(
    tls_host: Callable[..., FileHost], connection: Callable[..., ConnectionFields]
) -> None:
    assert problem(examine(connection(tls_host("files.example").base_url))).kind is Kind.TLS_OTHER_NAME


@produces(Kind.TLS_DATES)
def test_a_certificate_that_has_ended(
    tls_host: Callable[..., FileHost], connection: Callable[..., ConnectionFields]
) -> None:
    assert problem(examine(connection(tls_host("127.0.0.1", ends_in_days=-1).base_url))).kind is Kind.TLS_DATES


@produces(Kind.NO_TLS)
def test_https_at_a_port_of_http(wan_emulator: RunningEmulator, connection: Callable[..., ConnectionFields]) -> None:
    host = wan_emulator.base_url.replace("http://", "https://")

    assert problem(examine(connection(host))).kind is Kind.NO_TLS


@pytest.mark.parametrize("trusted", [True, False])
@produces(Kind.TLS_WANTED)
def test_http_at_a_port_of_https(
    trusted: Any, tls_host: Callable[..., FileHost], connection: Callable[..., ConnectionFields]
) -> None:
    server = tls_host("127.0.0.1", trusted=trusted)

    found = problem(examine(connection(server.base_url.replace("https://", "http://"))))

    assert found.kind is Kind.TLS_WANTED
    assert server.requests == []


@produces(Kind.TLS_FAILS)
def test_tls_that_is_ended_by_the_other_side(
    raw_server: RawServer, connection: Callable[..., ConnectionFields]
) -> None:
    raw_server.speaks_before_the_request(b"\x15\x03\x03\x00\x02\x02\x28")  # the alert "handshake failure"

    host = raw_server.base_url.replace("http://", "https://")

    assert problem(examine(connection(host))).kind is Kind.TLS_FAILS


# Proxies --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("scheme", "variable"), [("http", "HTTP_PROXY"), ("https", "HTTPS_PROXY")])
@produces(Kind.PROXY_FAILS)
def test_a_proxy_that_wants_a_password(
    scheme: str,
    variable: str,
    raw_server: RawServer,
    connection: Callable[..., ConnectionFields],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    raw_server.answers(407, b"who are you?")
    monkeypatch.setenv(variable, raw_server.base_url.replace("http://", "http://me:hunter2@"))

    found, *others = examine(connection(f"{scheme}://gateway.example"))

    assert found.kind is Kind.PROXY_FAILS
    assert raw_server.base_url.removeprefix("http://") in found.title
    assert "hunter2" not in found.title
    assert [one.kind for one in others] == ([Kind.NOT_ENCRYPTED] if scheme == "http" else [])


def test_a_proxy_where_nothing_listens(
    connection: Callable[..., ConnectionFields], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{closed_port()}")

    assert problem(examine(connection("https://gateway.example"))).kind is Kind.PROXY_FAILS


@pytest.mark.parametrize("status", [200, 302, 403, 511])
@produces(Kind.PROXY_IN_THE_WAY)
def test_a_proxy_that_answers_in_the_gateways_place(
    status: int,
    answers_alike: Callable[..., str],
    connection: Callable[..., ConnectionFields],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", answers_alike(status, HTML, headers={"Content-Type": "text/html"}))

    findings = examine(connection("http://gateway.example"))

    assert kinds_of(findings) == [Kind.PROXY_IN_THE_WAY, Kind.NOT_ENCRYPTED]


@pytest.mark.parametrize("own", ["api.apiyi.com", "dashscope.aliyuncs.com"])
def test_a_login_page_of_the_network_at_a_gateways_own_host(
    own: str,
    names: dict[str, list[list[str]]],
    answers_alike: Callable[..., str],
    connection: Callable[..., ConnectionFields],
) -> None:
    names[own] = [["127.0.0.1"]]
    page = answers_alike(302, HTML, headers={"Location": f"https://login.example/?key={KEY}"})

    findings = examine(connection(page.replace("127.0.0.1", own)))

    assert kinds_of(findings) == [Kind.PROXY_IN_THE_WAY, Kind.NOT_ENCRYPTED]
    assert "login page of the network" in findings[0].title


@pytest.mark.parametrize("proxy", ["socks4://127.0.0.1:1080", "https://me:hunter2@127.0.0.1:1"])
@produces(Kind.UNFIT_PROXY)
def test_a_proxy_that_cannot_be_used(
    proxy: str, connection: Callable[..., ConnectionFields], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)

    found = problem(examine(connection("https://gateway.example")))

    assert found.kind is Kind.UNFIT_PROXY
    assert "hunter2" not in found.title


# What the connection says ---------------------------------------------------------------------------------------------

FLAWS: dict[Kind, dict[str, Any]] = {
    Kind.OTHER_TYPE: {"connection_type": "aws"},
    Kind.NO_KEY: {"api_key": " "},
    Kind.UNFIT_KEY: {"api_key": "sk-two words-0123"},
    Kind.HOST_TO_FILL_IN: {"host": "https://{WorkspaceId}.cn-beijing.maas.aliyuncs.com/api/v1"},
    Kind.HOST_WITH_SECRET: {"host": "https://me:hunter2@api.apiyi.com"},
    Kind.HOST_FOR_PEOPLE: {"host": "https://docs.apiyi.com/en/api-capabilities/wan/overview"},
    Kind.HOST_UNREADABLE: {"host": "ftp://api.apiyi.com"},
    Kind.UNFIT_EXTRA: {"extra": {"read_timeout": "soon"}},
}


@pytest.mark.parametrize(("kind", "fields"), FLAWS.items())
@produces(*FLAWS)
def test_a_connection_that_cannot_be_used(
    kind: Kind, fields: dict[str, Any], connection: Callable[..., ConnectionFields], names: dict[str, Any]
) -> None:
    found = problem(examine(replace(connection("https://api.apiyi.com"), **fields)))

    assert found.kind is kind
    assert found.title.startswith("The connection has ")
    assert "hunter2" not in found.title


@produces(Kind.UNKNOWN_EXTRA)
def test_a_misspelt_extra(wan_emulator: RunningEmulator, connection: Callable[..., ConnectionFields]) -> None:
    findings = examine(connection(wan_emulator.base_url, gatway="dashscope"))

    assert kinds_of(findings) == [Kind.UNKNOWN_EXTRA, Kind.GOOD, Kind.NOT_SEEN]
    assert "'gatway'" in findings[0].title
    assert "did you mean 'gateway'?" in findings[0].title


@pytest.mark.parametrize(
    "extra",
    [
        {"gatway": "dashscope"},
        {"Gateway": "dashscope"},
        {"extra__wan__gateway": "dashscope"},
        {"base_url": "https://dashscope.aliyuncs.com"},
        {"region": "singapore"},
        {"workspace": "ws-0123456789"},
    ],
)
def test_a_key_is_sent_to_no_gateway_by_a_guess(
    extra: dict[str, str], connection: Callable[..., ConnectionFields]
) -> None:
    """Without a host, the gateway is APIYI; a field meant to name another one would send it a strange key."""
    found = problem(examine(connection("", **extra)))

    assert found.kind is Kind.UNFIT_EXTRA
    assert f"{next(iter(extra))!r} in its extra" in found.title
    assert "sent nowhere" in found.title


@produces(Kind.NOT_ENCRYPTED)
def test_a_key_that_goes_unencrypted(
    wan_emulator: RunningEmulator, connection: Callable[..., ConnectionFields], names: dict[str, list[list[str]]]
) -> None:
    names["gateway.example"] = [["127.0.0.1"]]

    findings = examine(connection(wan_emulator.base_url.replace("127.0.0.1", "gateway.example")))

    assert kinds_of(findings) == [Kind.NOT_ENCRYPTED, Kind.GOOD, Kind.NOT_SEEN]


# The table ------------------------------------------------------------------------------------------------------------


def test_every_kind_is_produced_here_but_that_of_the_hook() -> None:
    assert set(Kind) - PRODUCED == {Kind.NOT_DEFINED}


def test_the_page_has_the_table_of_findings() -> None:
    page = (Path(__file__).parents[3] / "docs" / "doctor.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| [^|]+ \| ([^|]+) \|$", page, re.MULTILINE)

    told = {kind: (severity, advice) for kind, severity, advice in rows}

    findings = [Finding(kind, "x") for kind in Kind]
    assert told == {finding.kind.value: (finding.severity.value, finding.advice) for finding in findings}
