"""What is found out about an earlier try at gateways that do not have everything."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from airflow_wan.api.requests import VideoRequest
from airflow_wan.exceptions import GatewayUnavailable
from airflow_wan.hooks.wan import WanHook
from airflow_wan.purchases.earlier_try import Earlier, what_became_of
from airflow_wan.purchases.record import Intent, Order
from airflow_wan.purchases.siblings import Siblings
from airflow_wan.purchases.variable_ledger import VariableLedger

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def relay(connect: Callable[..., None], answers_alike: Callable[..., str]) -> Callable[[int, bytes], Intent]:
    """Start a DashScope relay that answers everything alike, and return a lost purchase at it."""

    def start(status: int, body: bytes) -> Intent:
        base_url = answers_alike(status, body)
        connect(base_url, gateway="dashscope")
        order = Order(request={"model": "wan2.7-i2v", "input": {"prompt": "x"}, "parameters": {}})
        return Intent("same", time.time(), "wan_default", "dashscope", base_url, order)

    return start


def found(lost: Intent) -> Earlier:
    context: Any = {"ti": SimpleNamespace(map_index=-1), "task": SimpleNamespace(has_dag=lambda: False)}
    request, ledger = VideoRequest(dict(lost.order.request)), VariableLedger("d", "r", "t", -1)
    siblings = Siblings(context)
    return what_became_of(lost, request, hook=WanHook(), ledger=ledger, siblings=siblings, poll_interval_s=0.01)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, b"<html>404 page not found</html>"),
        (404, b""),
        (404, b'{"error": {"message": "Invalid URL (GET /api/v1/tasks/)", "type": "invalid_request_error"}}'),
        (404, b'{"code": "NotFound", "message": "no route", "request_id": "r"}'),
        (405, b'{"detail": "Method Not Allowed"}'),
        (501, b""),
    ],
)
def test_a_relay_without_a_list_leaves_the_decision_to_the_policy(
    status: int, body: bytes, relay: Callable[[int, bytes], Intent]
) -> None:
    lost = relay(status, body)

    earlier = found(lost)

    assert (earlier.record, earlier.status) == (lost, None)
    assert "list of tasks" in str(earlier.search)


@pytest.mark.parametrize(("status", "body"), [(500, b""), (502, b"<html/>"), (200, b"<html/>"), (429, b"{}")])
def test_a_list_that_cannot_be_read_for_now_decides_nothing(
    status: int, body: bytes, relay: Callable[[int, bytes], Intent]
) -> None:
    with pytest.raises(GatewayUnavailable, match="the next try searches again"):
        found(relay(status, body))
