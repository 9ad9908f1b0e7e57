"""The command line `airflow-wan` in tests: in this process, or in one of its own that can be stopped and killed."""

from __future__ import annotations

import json
import multiprocessing
import os
import pty
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from airflow_wan.cli.main import run_alone

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from airflow_wan.emulator.testing import RunningEmulator

KEY = "sk-command-line-0123456789abcdef"
LONGEST_WAIT_S = 60.0
"""Seconds to wait for what a process does; a slow machine needs some of them."""

TEXT_TO_VIDEO = ("--model", "wan2.7-t2v", "--prompt", "The clouds drift.", "--duration", "2")


def wait_until(is_so: Callable[[], object], process: Started | None = None) -> None:
    """Return when something is so; a process that has ended will not bring it about."""
    deadline = time.monotonic() + LONGEST_WAIT_S
    while not is_so():
        assert time.monotonic() < deadline, "it took too long"
        if process is not None and process.has_ended and not is_so():
            pytest.fail(f"the command has ended with {process.code}: {process.out} {process.err}")
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


def on_a_terminal(folder: Path, *arguments: str, question: str = "", answer: str = "", **environment: str) -> Done:
    """Run a command on a terminal of its own, and return all that stands there.

    :param question: the text after which somebody types the answer.
    """
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "airflow_wan.cli", *arguments],
        stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder, env={**os.environ, **environment},
        start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    while piece := _read(ours):
        shown += piece
        if answer and question.encode() in shown:
            os.write(ours, answer.encode())
            answer = ""
    os.close(ours)
    return Done(process.wait(timeout=30), shown.decode(), "")


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 4096)
    except OSError:  # the other end is closed
        return b""


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
    processes: list[Started] = field(default_factory=list)

    @property
    def video(self) -> Path:
        return self.folder / "out.mp4"

    @property
    def record(self) -> dict[str, Any]:
        """The purchase record; empty if there is none."""
        try:
            return json.loads((self.folder / "out.mp4.purchase.json").read_text())
        except FileNotFoundError:  # a command may take it away at any moment
            return {}

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

    def start(self, *arguments: str) -> Started:
        """Start a command in a process of its own."""
        return self._started(Started(self.folder, arguments, len(self.processes)))

    def start_generate(self, *arguments: str) -> Started:
        return self.start("generate", *TEXT_TO_VIDEO, "-o", str(self.video), "--json", *arguments)

    def end(self, process: Started) -> Done:
        """Wait for the end of a process."""
        process.wait()
        done = Done(process.code, process.out, process.err)
        self.printed += [done.out, done.err]
        return done

    def _started(self, process: Started) -> Started:
        self.processes.append(process)
        return process


class Started:
    """A command in a process of its own, forked from one that has imported what commands import.

    :param folder: the folder that it is run in; what it prints goes to files beside that folder.
    """

    def __init__(self, folder: Path, arguments: tuple[str, ...], number: int) -> None:
        self._out, self._err = (folder.with_name(f"{folder.name}.{number}.{name}") for name in ("out", "err"))
        _FORKS.set_forkserver_preload(PRELOADED)
        self._process = _FORKS.Process(
            target=_run, args=(str(folder), arguments, dict(os.environ), str(self._out), str(self._err))
        )
        self._process.start()

    @property
    def has_ended(self) -> bool:
        return self._process.exitcode is not None

    @property
    def code(self) -> int:
        """The exit code; of a process that a signal has killed, its number below 0."""
        assert self._process.exitcode is not None
        return self._process.exitcode

    @property
    def out(self) -> str:
        return self._out.read_text() if self._out.exists() else ""

    @property
    def err(self) -> str:
        return self._err.read_text() if self._err.exists() else ""

    def signal(self, number: int) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def wait(self) -> None:
        self._process.join(LONGEST_WAIT_S)
        assert self.has_ended, self.err

    def kill(self) -> None:
        """End it, if it has not ended."""
        self._process.kill()
        self._process.join()


_FORKS = multiprocessing.get_context("forkserver")

PRELOADED = [
    "airflow_wan.cli.access",
    "airflow_wan.cli.app",
    "airflow_wan.cli.making",
    "airflow_wan.purchases.lost_submit",
]


def _run(folder: str, arguments: tuple[str, ...], environment: dict[str, str], out: str, err: str) -> None:
    """Run a command as `python -m airflow_wan.cli` does."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # where the tests run under nohup, it would be ignored here too
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for path, stream in ((out, 1), (err, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    sys.stdout, sys.stderr = (open(stream, "w", buffering=1) for stream in (1, 2))  # noqa: PTH123, SIM115
    sys.argv = ["airflow-wan", *arguments]
    run_alone()
