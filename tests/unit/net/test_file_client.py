"""The client for addresses that somebody else names: whom it contacts, and how long it waits."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest

from airflow_wan.exceptions import TransferInterrupted
from airflow_wan.net.file_client import FileClient

if TYPE_CHECKING:
    from file_host import Tls


def test_a_name_is_looked_up_once_so_the_address_that_was_checked_is_the_one_contacted(
    tls: Tls, names: dict[str, list[list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    contacted: list[Any] = []

    def connect(_: socket.socket, address: Any) -> None:
        contacted.append(address)
        raise ConnectionRefusedError

    names["files.example"] = [["93.184.216.34"], ["127.0.0.1"]]
    monkeypatch.setattr(socket.socket, "connect", connect)

    with (
        pytest.raises(TransferInterrupted, match="ConnectionRefusedError"),
        FileClient(tls.client, private_allowed=False).get("https://files.example/a", {}),
    ):
        pass

    assert contacted == [("93.184.216.34", 443)]
