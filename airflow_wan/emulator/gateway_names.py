"""The two gateways that the emulator stands in for."""

from __future__ import annotations

from enum import StrEnum


class GatewayName(StrEnum):
    """The gateways, as the ledger names them."""

    APIYI = "apiyi"
    DASHSCOPE = "dashscope"
