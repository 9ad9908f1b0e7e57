from __future__ import annotations

import socket

import pytest

from airflow_wan.net.addresses import is_loopback, is_private, resolves_privately


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST", "localhost.", "wan.localhost", "127.0.0.1", "127.9.8.7", "::1", "[::1]"]
)
def test_this_machine_is_recognised_by_name_and_by_address(host: str) -> None:
    assert is_loopback(host)
    assert is_private(host)


@pytest.mark.parametrize(
    "host",
    [None, "", "localhost.example.com", "notlocalhost", "10.0.0.1", "0.0.0.0", "example.com", "128.0.0.1", "::2"],
)
def test_other_hosts_are_not_taken_for_this_machine(host: str | None) -> None:

    assert not is_loopback(host)


@pytest.mark.parametrize(
    "host",
    [
        *("10.0.0.1", "192.168.1.7", "172.16.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0"),
        *("fd00::1", "[fe80::1]", "::ffff:10.0.0.1", "64:ff9b::10.0.0.1", "2002:a00:1::1"),
    ],
)
def test_addresses_of_private_networks_are_private(host: str) -> None:
    assert is_private(host)
    assert not is_loopback(host)


@pytest.mark.parametrize(
    "host",
    ["example.com", "8.8.8.8", "[2606:4700::1111]", "minio", "10.example.com", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"],
)
def test_names_are_not_looked_up_and_public_addresses_are_public(host: str) -> None:
    assert not is_private(host)


@pytest.mark.parametrize(
    ("addresses", "private"),
    [
        (["10.0.0.1"], True),
        (["8.8.8.8", "127.0.0.1"], True),
        (["2606:4700::1111", "fe80::1%eth0"], True),
        (["8.8.8.8", "2606:4700::1111"], False),
    ],
)
def test_a_name_is_private_if_any_of_its_addresses_is(
    addresses: list[str], private: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)

    assert resolves_privately("files.example") is private


def test_addresses_are_not_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "getaddrinfo")

    assert resolves_privately("10.0.0.1")
    assert resolves_privately("emulator.localhost")


@pytest.mark.parametrize("host", ["2130706433", "127.1", "0x7f.1"])
def test_an_unusual_notation_of_a_private_address_is_recognised(host: str) -> None:
    assert resolves_privately(host)


@pytest.mark.parametrize("host", ["nonexistent.invalid", "a" * 64 + ".example", "."])
def test_a_name_that_cannot_be_resolved_is_not_private(host: str) -> None:
    assert not resolves_privately(host)
