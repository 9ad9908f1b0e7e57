"""What is found out about an earlier try at gateways that do not have everything."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from airflow_wan.api.requests import VideoRequest
from airflow_wan.exceptions import GatewayUnavailable
from airflow_wan.hooks.wan import WanHook
from airflow_wan.purchases.earlier_try import Earlier, what_became_of
from airflow_wan.purchases.record import Intent, Order
from airflow_wan.purchases.variable_ledger import VariableLedger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def relay(connect: Callable[..., None]) -> Iterator[Callable[[int, bytes], Intent]]:
    """Starts a DashScope relay that answers everything alike, and returns a lost purchase at it."""
    servers = []

    def start(status: int, body: bytes) -> Intent:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        base_url = f"http://127.0.0.1:{server.server_address[1]}"
        connect(base_url, gateway="dashscope")
        order = Order(request={"model": "wan2.7-i2v", "input": {"prompt": "x"}, "parameters": {}})
        return Intent("same", time.time(), "wan_default", "dashscope", base_url, order)

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def found(lost: Intent) -> Earlier:
    context: Any = {"ti": SimpleNamespace(map_index=-1), "task": SimpleNamespace(has_dag=lambda: False)}
    request, ledger = VideoRequest(dict(lost.order.request)), VariableLedger("d", "r", "t", -1)
    return what_became_of(lost, request, hook=WanHook(), ledger=ledger, context=context, poll_interval_s=0.01)


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
