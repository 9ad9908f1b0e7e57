"""What the reply to the query of a task that does not exist says of the host and of the key.

Only a gateway's own words for "there is no such task" are good news: any web server answers something.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from airflow_wan.api.answers import text_of
from airflow_wan.api.client import NoAnswer
from airflow_wan.api.failures import FREE_QUOTA_CODE, NO_SUCH_TASK_CODES, meaning_of, read_failed_answer
from airflow_wan.api.gateways import is_official
from airflow_wan.api.tasks import TaskStatus, read_task
from airflow_wan.api.trouble import Trouble
from airflow_wan.doctor.findings import Finding, Kind
from airflow_wan.exceptions import AuthenticationFailed, BalanceExhausted, GatewayUnavailable, VideoTaskLost, WanError
from airflow_wan.net.proxies import environment_proxy

if TYPE_CHECKING:
    from airflow_wan.api.answers import Answer
    from airflow_wan.api.failures import FailedAnswer
    from airflow_wan.api.gateways import Account

NO_TASK = "00000000-0000-4000-8000-000000000000"
"""No task has this id: asking for it tells whether the key is good, and costs nothing."""

_NETWORK_LOGIN = 511
_AWAY = (502, 503, 504)

_BEFORE_TLS = (Trouble.UNKNOWN_NAME, Trouble.REFUSED, Trouble.TOO_LATE, Trouble.BROKEN_OFF)

_WORKSPACE_CODES = ("workspace.accessdenied", "workspacenotfound", "not authorized")
_TOKEN_PLAN_KEY, _TOKEN_PLAN_HOST = "sk-sp-", "token-plan."


def verdict(account: Account, reply: Answer | NoAnswer) -> Finding:
    """Return what the reply says.

    :param account: the account whose gateway was asked for `NO_TASK`.
    :param reply: what came of it.
    """
    place = place_of(account)
    if isinstance(reply, NoAnswer):
        return _of_no_answer(account, reply)
    if reply.http_status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        return Finding(Kind.PROXY_FAILS, f"A proxy wants a user and a password before it lets anyone ask {place}.")
    if reply.http_status == _NETWORK_LOGIN:
        return Finding(Kind.PROXY_IN_THE_WAY, f"The network wants a login before it lets anyone ask {place}.")
    if knows_no_such_task(reply):
        return Finding(Kind.GOOD, f"{place} answers in its own words and did not refuse the key.")
    if reply.http_status >= HTTPStatus.BAD_REQUEST and _is_in_a_gateways_words(reply):
        failed = read_failed_answer(reply)
        if kind := _kind_of(failed):
            what = " the key" if kind is Kind.WRONG_KEY else ""
            return Finding(kind, f"{place} refuses{what}: {_quoted(failed)}{_hint(account, kind)}")
        if reply.http_status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return Finding(Kind.OUTAGE, f"{place} has an outage: {_quoted(failed)}")
    if reply.http_status == HTTPStatus.TOO_MANY_REQUESTS:
        return Finding(Kind.THROTTLED, f"{place} answers, but too many requests are sent to it.")
    if reply.http_status in _AWAY:
        return Finding(Kind.OUTAGE, f"{place} has an outage: HTTP {reply.http_status}.")
    return _of_a_stranger(account, reply)


def knows_no_such_task(reply: Answer | NoAnswer) -> bool:
    """Return whether a reply is a gateway's own answer that there is no task `NO_TASK`."""
    if isinstance(reply, NoAnswer):
        return False
    try:
        task = read_task(reply, NO_TASK)
    except VideoTaskLost as error:
        return (error.code or "").lower() in NO_SUCH_TASK_CODES
    except WanError:
        return False
    # Some servers say "unknown" of themselves: the task must be named.
    return task.status is TaskStatus.UNKNOWN and NO_TASK in reply.task_ids


def place_of(account: Account) -> str:
    """Return the gateway, its base URL, and the proxy on the way if there is one."""
    proxy = proxy_of(account)
    through = f", through the proxy {proxy}," if proxy else ""
    return f"{account.gateway.title} at {account.base_url}{through}"


def proxy_of(account: Account) -> str | None:
    """Return host and port of the proxy that the environment names for an account's base URL, without its password."""
    url = urlsplit(account.base_url)
    proxy = environment_proxy(url.scheme, url.hostname or "")
    return None if proxy is None else proxy.netloc.rpartition("@")[2]


def _of_no_answer(account: Account, reply: NoAnswer) -> Finding:
    proxy = proxy_of(account)
    is_proxys = proxy is not None and not reply.sent and reply.trouble in _BEFORE_TLS
    if is_proxys or reply.trouble is Trouble.PROXY:
        named = f"{proxy}, which the environment names, " if proxy else ""
        return Finding(Kind.PROXY_FAILS, f"The proxy {named}does not lead to {account.base_url}: {reply.reason}")
    through = f" The request goes through the proxy {proxy}, which the environment names." if proxy else ""
    return Finding(Kind(reply.trouble.value), reply.reason + through)


def _of_a_stranger(account: Account, reply: Answer) -> Finding:
    content = reply.headers.get("content-type", "no content type").partition(";")[0]
    found = f"HTTP {reply.http_status}, {content}"
    if reply.ok and reply.task_ids:
        found += ", and it says that it has a task of an id that nobody was given"
    proxy = proxy_of(account)
    if not _is_in_a_gateways_words(reply) and (proxy or is_official(account.base_url)):
        who = f"the proxy {proxy}" if proxy else "something between, such as a login page of the network,"
        return Finding(
            Kind.PROXY_IN_THE_WAY, f"Not {account.gateway.title} answers at {account.base_url}, but {who}: {found}."
        )
    return Finding(
        Kind.NO_GATEWAY,
        f"What answers at {account.base_url} does not answer as {account.gateway.title} does: {found}.",
    )


def _is_in_a_gateways_words(reply: Answer) -> bool:
    """Return whether an answer has the form in which the gateways refuse.

    ``{"error": {"message", "type", …}}`` at APIYI, ``{"code", "message", "request_id"}`` at DashScope, and ``{"code",
    "message", "data"}`` at new-api.
    """
    error = reply.body.get("error")
    if isinstance(error, Mapping):
        return any(text_of(error.get(name)) for name in ("type", "code"))
    return text_of(reply.body.get("code")) is not None and "message" in reply.body


def _kind_of(failed: FailedAnswer) -> Kind | None:
    """Return what a refusal means for the connection; None if it says nothing about it."""
    code = (failed.code or "").lower()
    meaning = meaning_of(failed)
    if meaning is BalanceExhausted:
        return Kind.FREE_QUOTA_USED_UP if code == FREE_QUOTA_CODE else Kind.NO_BALANCE
    if meaning is GatewayUnavailable:
        return None
    if meaning is not AuthenticationFailed and failed.http_status not in (401, 403):
        return None
    return Kind.WRONG_WORKSPACE if code in _WORKSPACE_CODES else Kind.WRONG_KEY


def _quoted(failed: FailedAnswer) -> str:
    code = f"[{failed.code}] " if failed.code else ""
    return f"HTTP {failed.http_status}: {code}{failed.message}"


def _hint(account: Account, kind: Kind) -> str:
    """Return what the key itself tells of where it belongs."""
    host = urlsplit(account.base_url).hostname or ""
    is_of_plan, is_plans_host = account.api_key.startswith(_TOKEN_PLAN_KEY), host.startswith(_TOKEN_PLAN_HOST)
    if kind is not Kind.WRONG_KEY or is_of_plan == is_plans_host:
        return ""
    return f" Keys that begin with {_TOKEN_PLAN_KEY} belong to a token plan, whose host begins with {_TOKEN_PLAN_HOST}"
