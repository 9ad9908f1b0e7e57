"""What the tests of the protocol share: a server that answers whatever a test says, and accounts that lead there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from raw_server import RawServer

from airflow_wan.api.gateways import APIYI, DASHSCOPE, Account, Gateway

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KEY = "sk-ground-floor-0123456789"


@pytest.fixture
def raw_server() -> Iterator[RawServer]:
    with RawServer() as server:
        yield server


@pytest.fixture
def account_at() -> Callable[..., Account]:
    """Makes an account at a base URL, with timeouts of 10 s by default."""

    def account(base_url: str, gateway: Gateway = APIYI, **fields: Any) -> Account:
        return Account(
            **({"api_key": KEY, "read_timeout": 10.0, "connect_timeout": 10.0} | fields),
            gateway=gateway,
            base_url=base_url,
        )

    return account


@pytest.fixture(params=[APIYI, DASHSCOPE], ids=lambda gateway: gateway.name)
def gateway(request: pytest.FixtureRequest) -> Gateway:
    """Each gateway in turn."""
    return request.param
