"""The pytest fixture `wan_emulator`; `pytest_plugins = ["airflow_wan.emulator.pytest_plugin"]` enables it.

A test makes a request fail with `wan_emulator.add_fault("create", "bad_gateway")`, and reads from
`wan_emulator.ledger()` what was bought all the same; `airflow_wan.emulator.faults` lists the faults.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from airflow_wan.emulator.testing import FAST, RunningEmulator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_wan.emulator.settings import Settings


@pytest.fixture
def wan_emulator_settings() -> Settings:
    """Return the settings of `wan_emulator`; override this fixture to change them."""
    return FAST


@pytest.fixture(scope="session")
def wan_emulator_for() -> Iterator[Callable[[Settings], RunningEmulator]]:
    """Yield a function that returns the session's emulator with the given settings.

    There is one emulator for each set of settings, because stopping a web server takes longer than most tests.
    """
    with ExitStack() as running:
        emulators: dict[Settings, RunningEmulator] = {}

        def emulator_for(settings: Settings) -> RunningEmulator:
            if settings not in emulators:
                emulators[settings] = running.enter_context(RunningEmulator(settings))
            return emulators[settings]

        yield emulator_for


@pytest.fixture
def wan_emulator(
    wan_emulator_settings: Settings, wan_emulator_for: Callable[[Settings], RunningEmulator]
) -> RunningEmulator:
    """Return an emulator of both gateways on a free loopback port; it is empty at the start of each test."""
    emulator = wan_emulator_for(wan_emulator_settings)
    emulator.reset()
    return emulator
