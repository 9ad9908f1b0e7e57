"""The command line `airflow-wan` in tests: in this process, or in one of its own that can be stopped and killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from airflow_wan.emulator.testing import RunningEmulator

KEY = "sk-command-line-0123456789abcdef"
LONGEST_WAIT_S = 60.0
"""Seconds to wait for what a process does; a slow machine needs some of them."""

TEXT_TO_VIDEO = ("--model", "wan2.7-t2v", "--prompt", "The clouds drift.", "--duration", "2")


def wait_until(is_so: Callable[[], object], process: subprocess.Popen[str] | None = None) -> None:
    """Return when something is so; a process that has ended will not bring it about."""
    deadline = time.monotonic() + LONGEST_WAIT_S
    while not is_so():
        assert time.monotonic() < deadline, "it took too long"
        if process is not None and process.poll() is not None and not is_so():
            pytest.fail(f"the command has ended with {process.returncode}: {process.communicate()}")
        time.sleep(0.02)


@dataclass
class Done:
    """What a command has printed and returned."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class CommandLine:
    """The command line with an account at the emulator, in a folder of its own.

    :param gateway: the name of the gateway.
    :param printed: all that the commands of the test have printed.
    """

    emulator: RunningEmulator
    folder: Path
    gateway: str
    printed: list[str] = field(default_factory=list)
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def video(self) -> Path:
        return self.folder / "out.mp4"

    @property
    def record(self) -> dict[str, Any]:
        """The purchase record; empty if there is none."""
        path = self.folder / "out.mp4.purchase.json"
        return json.loads(path.read_text()) if path.exists() else {}

    @property
    def sidecar(self) -> dict[str, Any]:
        return json.loads((self.folder / "out.mp4.json").read_text())

    @property
    def bought(self) -> list[str]:
        """The Wan tasks that create requests have made."""
        return [row["task_id"] for row in self.emulator.ledger()]

    def run(self, *arguments: str) -> Done:
        """Run a command in this process."""
        from typer.testing import CliRunner

        from airflow_wan.cli.app import app

        result = CliRunner().invoke(app, list(arguments), prog_name="airflow-wan")
        self.printed += [result.stdout, result.stderr]
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Done(result.exit_code, result.stdout, result.stderr)

    def generate(self, *arguments: str) -> Done:
        """Make a video at `video`, of which a script asks."""
        return self.run("generate", *TEXT_TO_VIDEO, "-o", str(self.video), "--json", *arguments)

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Start a command in a process of its own."""
        process = subprocess.Popen(
            [sys.executable, "-m", "airflow_wan.cli", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
        )
        self.processes.append(process)
        return process

    def start_generate(self, *arguments: str) -> subprocess.Popen[str]:
        return self.start("generate", *TEXT_TO_VIDEO, "-o", str(self.video), "--json", *arguments)

    def end(self, process: subprocess.Popen[str]) -> Done:
        """Wait for the end of a process."""
        out, err = process.communicate(timeout=LONGEST_WAIT_S)
        self.printed += [out, err]
        return Done(process.returncode, out, err)
