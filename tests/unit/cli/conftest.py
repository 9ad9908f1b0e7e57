"""The command line with an account at the emulator."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from command_lines import KEY, CommandLine

from airflow_wan.emulator.testing import AT_ONCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from airflow_wan.emulator.settings import Settings
    from airflow_wan.emulator.testing import RunningEmulator


@pytest.fixture
def wan_emulator_settings(request: pytest.FixtureRequest) -> Settings:
    """Return settings with which a video is finished at once; with the marker, after twice 1000 s of its clock."""
    slow = request.node.get_closest_marker("stays_queued")
    return replace(AT_ONCE, pending_s=1000.0, running_s=1000.0) if slow else AT_ONCE


@pytest.fixture
def command_line(
    wan_emulator: RunningEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], CommandLine]]:
    """Return the command line with an account at a gateway; afterwards, look for its key in all it has left."""
    made: list[CommandLine] = []

    def at(gateway: str) -> CommandLine:
        monkeypatch.setenv("WAN_API_KEY", KEY)
        monkeypatch.setenv("WAN_BASE_URL", wan_emulator.base_url)
        monkeypatch.setenv("WAN_GATEWAY", gateway)
        made.append(CommandLine(wan_emulator, tmp_path, gateway))
        return made[-1]

    yield at
    for line in made:
        for process in line.processes:
            process.kill()
        assert not [text for text in line.printed if KEY in text]
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]


@pytest.fixture(params=["apiyi", "dashscope"])
def line(request: pytest.FixtureRequest, command_line: Callable[[str], CommandLine]) -> CommandLine:
    """The command line at each of the two gateways in turn."""
    return command_line(request.param)


@pytest.fixture
def dashscope(command_line: Callable[[str], CommandLine]) -> CommandLine:
    return command_line("dashscope")


@pytest.fixture
def apiyi(command_line: Callable[[str], CommandLine]) -> CommandLine:
    return command_line("apiyi")
