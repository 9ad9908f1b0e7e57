from __future__ import annotations

import pytest

from airflow_wan.addresses import is_loopback, is_private


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
    ["10.0.0.1", "192.168.1.7", "172.16.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "fd00::1", "[fe80::1]"],
)
def test_addresses_of_private_networks_are_private(host: str) -> None:
    assert is_private(host)
    assert not is_loopback(host)


@pytest.mark.parametrize("host", ["example.com", "8.8.8.8", "[2606:4700::1111]", "minio", "10.example.com"])
def test_names_are_not_looked_up_and_public_addresses_are_public(host: str) -> None:
    assert not is_private(host)
