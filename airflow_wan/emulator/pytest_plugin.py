"""The pytest fixture `wan_emulator`: enable it with `pytest_plugins = ["airflow_wan.emulator.pytest_plugin"]`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from airflow_wan.emulator.testing import FAST, RunningEmulator

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_wan.emulator.settings import Settings


@pytest.fixture
def wan_emulator_settings() -> Settings:
    """How `wan_emulator` behaves; override this fixture to change it."""
    return FAST


@pytest.fixture
def wan_emulator(wan_emulator_settings: Settings) -> Iterator[RunningEmulator]:
    """An emulator of both gateways on a free loopback port, new for each test."""
    with RunningEmulator(wan_emulator_settings) as emulator:
        yield emulator
