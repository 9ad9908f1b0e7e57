"""Examines a connection: what it says, the way to its host, what answers there, and what the account may do.

Nothing is created, and nothing costs money. All calls are GET, and the key goes to the connection's own host only,
unless the caller wants other regions to be asked:

- the query of a task that does not exist; once more in the other gateway's words if no gateway answers;
- DashScope: the key's limits; APIYI: the key's models, and with a system token the account's balance.

Where a host that was written with http:// answers nothing that can be understood, a TLS connection to it is opened and
closed; nothing is sent over it.
"""

from __future__ import annotations

import socket
import ssl
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from airflow_wan.api.accounts import Remark, oddities, read_account
from airflow_wan.api.answers import Answer
from airflow_wan.api.catalogue import known_model_ids
from airflow_wan.api.client import CLOCK_SLACK_S, WanClient, tls_context
from airflow_wan.api.gateways import APIYI, DASHSCOPE, task_call
from airflow_wan.api.standing import (
    balance_call,
    limits_call,
    models_call,
    read_balance_usd,
    read_limits,
    read_models,
)
from airflow_wan.doctor.findings import Finding, Kind, Severity, worst_first
from airflow_wan.doctor.regions import other_hosts, region_of
from airflow_wan.doctor.verdict import NO_TASK, knows_no_such_task, place_of, proxy_of, verdict
from airflow_wan.exceptions import TransferFailed, WanConnectionError
from airflow_wan.net.file_client import check_proxy
from airflow_wan.net.host_answers import seconds_until

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from airflow_wan.api.accounts import ConnectionFields
    from airflow_wan.api.gateways import Account
    from airflow_wan.api.standing import Limit

__all__ = ["examine"]

LONGEST_CALL_S = 30.0
"""Longest time of one call, in seconds; somebody waits for the findings."""

_MOST_MODELS = 6
"""Most models that are named for one limit."""

_FAMILIES = ("wan", "happyhorse")
"""How the ids of all models begin that this package is for."""


def examine(fields: ConnectionFields, *, ask_other_regions: bool = False) -> list[Finding]:
    """Return what is found about a connection, the worst first.

    There is always a finding of the kind ``good``, or one of the severity ``problem``.

    :param fields: what the connection says.
    :param ask_other_regions: whether a key that DashScope refuses is tried at the shared hosts of its other regions,
        all of them Alibaba's, over https. By default it is sent to the connection's own host only.
    """
    account = read_account(fields)
    if isinstance(account, Remark):
        return [_of_remark(account)]
    remarks = [_of_remark(remark) for remark in oddities(fields, account.base_url)]
    bounded = replace(account, total_timeout=min(account.total_timeout, LONGEST_CALL_S))
    return worst_first([*remarks, *_at_the_host(bounded, ask_other_regions=ask_other_regions)])


def _of_remark(remark: Remark) -> Finding:
    return Finding(Kind(remark.flaw.value), remark.text)


def _at_the_host(account: Account, *, ask_other_regions: bool) -> Iterator[Finding]:
    try:
        check_proxy()
        client = WanClient(account)
    except (WanConnectionError, TransferFailed) as error:
        yield Finding(Kind.UNFIT_PROXY, error.message)
        return
    with client:
        reply = client.ask(task_call(account.gateway, NO_TASK))
        found = verdict(account, reply)
        yield _explained(account, found, client, ask_other_regions=ask_other_regions)
        if isinstance(reply, Answer):
            yield from _clock(reply, account)
        if found.severity is Severity.GOOD:
            yield from (_limits(client) if account.gateway is DASHSCOPE else _rights(client, account))
            yield Finding(
                Kind.NOT_SEEN,
                "Only a create request shows whether the account can pay for it, whether a free quota is used up, and "
                "whether the key may use the model.",
            )


def _explained(account: Account, found: Finding, client: WanClient, *, ask_other_regions: bool) -> Finding:
    """Return a finding, or what explains it better and takes another question to find."""
    if found.kind in (Kind.BROKEN_OFF, Kind.NO_GATEWAY, Kind.PROXY_IN_THE_WAY) and _wants_tls(account):
        return Finding(Kind.TLS_WANTED, f"The host of {account.base_url} speaks TLS, and is written with http://.")
    if found.kind is Kind.NO_GATEWAY:
        other = DASHSCOPE if account.gateway is APIYI else APIYI
        as_other = verdict(replace(account, gateway=other), client.ask(task_call(other, NO_TASK)))
        if as_other.kind in (Kind.GOOD, Kind.WRONG_KEY):
            return Finding(
                Kind.OTHER_GATEWAY,
                f"{account.base_url} answers as {other.title} does, and the connection takes it for "
                f"{account.gateway.title}.",
            )
    if found.kind is Kind.WRONG_KEY and region_of(account.base_url) is not None:
        if ask_other_regions:
            return _at_another_host(account) or found
        return Finding(
            found.kind, f"{found.title} `airflow-wan doctor --other-regions` tells whether it is of another region."
        )
    return found


def _wants_tls(account: Account) -> bool:
    """Return whether a host that was written with http:// speaks TLS: at its own port, or else at that of https."""
    url = urlsplit(account.base_url)
    host = url.hostname or ""
    if url.scheme != "http" or proxy_of(account):
        return False
    try:
        with (
            socket.create_connection((host, url.port or 443), timeout=account.connect_timeout) as plain,
            tls_context().wrap_socket(plain, server_hostname=host),
        ):
            return True
    except ssl.SSLCertVerificationError:
        return True
    except (OSError, ValueError):
        return False


def _at_another_host(account: Account) -> Finding | None:
    """Return where a key is good that its connection's own host refuses."""
    own = region_of(account.base_url)
    for region in other_hosts(account.base_url):
        elsewhere = replace(account, base_url=region.base_url, workspace=None)
        with WanClient(elsewhere) as client:
            if not knows_no_such_task(client.ask(task_call(elsewhere.gateway, NO_TASK))):
                continue
        is_same = region.name == own
        return Finding(
            Kind.WRONG_WORKSPACE if is_same else Kind.WRONG_REGION,
            f"{place_of(account)} refuses the key, and {region.base_url} ({region.place}) does not.",
        )
    return None


def _clock(reply: Answer, account: Account) -> Iterator[Finding]:
    ahead_s = seconds_until(reply.headers.get("date", ""))
    if abs(ahead_s) > CLOCK_SLACK_S:  # never true of NaN, which is what no date gives
        how = "behind" if ahead_s > 0 else "ahead of"
        yield Finding(
            Kind.CLOCK_SKEW, f"The clock of this machine is {abs(ahead_s):.0f} s {how} that of {account.base_url}."
        )


def _limits(client: WanClient) -> Iterator[Finding]:
    reply = client.ask(limits_call("wan"))
    known = set(known_model_ids())
    limits = [limit for limit in read_limits(reply) if limit.model in known] if isinstance(reply, Answer) else []
    if limits:
        yield Finding(Kind.LIMITS, f"The key's own limits: {'; '.join(_told(limits))}.")


def _told(limits: Iterable[Limit]) -> Iterator[str]:
    """Yield a phrase for each set of models with the same limits."""
    models: defaultdict[tuple[int | None, ...], list[str]] = defaultdict(list)
    for limit in limits:
        models[limit.figures].append(limit.model)
    for (creates, period_s, running, queued), names in models.items():
        parts = [
            f"{creates} creates in {period_s} s" if creates and period_s else "",
            f"{running} tasks at a time" if running else "",
            f"{queued} tasks in the queue" if queued else "",
        ]
        shown = sorted(names)[:_MOST_MODELS]
        others = f" and {len(names) - len(shown)} others" if len(names) > len(shown) else ""
        yield f"{', '.join(filter(None, parts)) or 'none told'} for each of {', '.join(shown)}{others}"


def _rights(client: WanClient, account: Account) -> Iterator[Finding]:
    """Yield what APIYI tells of a key's models and of its account's balance."""
    reply = client.ask(models_call())
    models = read_models(reply) if isinstance(reply, Answer) else None
    if models is not None and not any(model.lower().startswith(_FAMILIES) for model in models):
        yield Finding(
            Kind.WRONG_GROUP,
            f"{place_of(account)} names the models that the key may use ({len(models)}): none is of Wan or HappyHorse.",
        )
    if not account.has_system_list:
        return
    reply = client.ask(balance_call())
    if not isinstance(reply, Answer):
        return
    balance_usd = read_balance_usd(reply)
    if balance_usd is None:
        if reply.http_status in (401, 403) or reply.body.get("success") is False:
            yield Finding(Kind.SYSTEM_TOKEN_REFUSED, f"{place_of(account)} refuses the system_token of the connection.")
    elif balance_usd > 0:
        yield Finding(Kind.BALANCE, f"The account has {balance_usd:.2f} USD left.")
    else:
        yield Finding(Kind.NO_BALANCE, f"The account has {balance_usd:.2f} USD left.")
