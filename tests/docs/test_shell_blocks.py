"""The shell blocks of each page run one after the other in one shell, as a reader runs them from top to bottom.

The commands are the real ones, except for `pip` and `make`: see stand_ins/. A block that a test cannot run says why in
a comment.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from airflow_processes import free_port
from documentation import REPOSITORY, SHELL, Block, blocks_of, pages

from airflow_wan.hooks.wan import WanHook

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_wan.emulator.testing import RunningEmulator

STAND_INS = Path(__file__).parent / "stand_ins"
KEPT = ("PATH", "PYTHONPATH", "LANG", "TMPDIR", "AIRFLOW_CONN_WAN_DEFAULT")
LONGEST_S = 400  # s; `airflow` alone takes many on a busy machine

PORT = "8765"
"""The port of the documentation's emulator; each test gets one of its own."""
PAID = re.compile(r"^airflow(-wan generate| wan generate| dags test)\b", re.MULTILINE)
"""The commands that buy a video."""
KEY = "sk-…"
"""Stands for the reader's key, which has no such character."""


def steps_of(page: Path) -> list[Block]:
    """Return what a reader of the page does in order: the shell blocks, and the files to save."""
    return [block for block in blocks_of(page) if block.language == SHELL or "file" in block.marks]


PAGES = [page for page in pages() if any(block.language == SHELL for block in steps_of(page))]


@pytest.fixture
def reader(
    tmp_path: Path, copy_database: Callable[[Path], None], wan_connection: None, wan_emulator: RunningEmulator
) -> dict[str, str]:
    """Return the environment of a reader who has this package, an Airflow with a database, and a connection."""
    home = tmp_path / "home"
    (home / "airflow").mkdir(parents=True)
    copy_database(home / "airflow" / "airflow.db")
    (home / ".venv").symlink_to(sys.prefix)
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    commands = [str(STAND_INS), str(Path(sys.executable).parent), kept["PATH"]]
    return kept | {
        "HOME": str(home),
        "PATH": os.pathsep.join(commands),
        "REPOSITORY": str(REPOSITORY),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        # Where DashScope is, for the command line.
        "DASHSCOPE_HTTP_BASE_URL": wan_emulator.base_url,
    }


@pytest.mark.timeout(LONGEST_S + 20)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_the_shell_blocks_of_a_page_run(
    page: Path,
    reader: dict[str, str],
    wan_emulator: RunningEmulator,
    make_media: Callable[[str, Path], None],
    tmp_path: Path,
    count: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps = [step for step in steps_of(page) if "not run" not in step.marks]
    for step in steps:
        make_media(step.code, Path(reader["HOME"]))
    script, output = tmp_path / "script.sh", tmp_path / "output"
    script.write_text("set -e\n" + "".join(as_script(number, step, tmp_path) for number, step in enumerate(steps)))

    status, ledger = run(script, output, reader)

    assert status == 0, output.read_text()  # None: it took too long
    for number, step in enumerate(steps):
        check_variables(read_variables(tmp_path / f"{number}.env"), reader, monkeypatch, step)
    creates = len(ledger) + len(wan_emulator.ledger())
    assert creates == sum(len(PAID.findall(step.code)) for step in steps)
    count(shell_blocks=sum(step.language == SHELL for step in steps), creates_of_shell_blocks=creates)


def as_script(number: int, step: Block, folder: Path) -> str:
    """Return the commands of a step, between words that say where we are and the environment that it leaves."""
    commands = step.code
    if "file" in step.marks:
        (folder / f"{number}.saved").write_text(step.code)
        target = step.marks["file"]
        commands = f"mkdir -p {target.rpartition('/')[0]}; cp {folder}/{number}.saved {target}\n"
    return f"echo '=== {step}'\n{commands}\nenv -0 > {folder}/{number}.env\n"


def run(script: Path, output: Path, environment: dict[str, str]) -> tuple[int | None, list[Any]]:
    """Run a script and end what it has left running.

    Returned are its exit status, or None if it takes too long, and what was bought at an emulator that it has started.
    """
    port = free_port()
    script.write_text(script.read_text().replace(PORT, str(port)).replace(KEY, "sk-of-the-reader"))
    with output.open("w") as log:
        shell = subprocess.Popen(
            ["bash", script],
            env=environment,
            cwd=environment["HOME"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            return shell.wait(LONGEST_S), ledger_of_emulator(port)
        except subprocess.TimeoutExpired:
            return None, []
        finally:
            with suppress(ProcessLookupError):  # nothing is left
                os.killpg(shell.pid, signal.SIGKILL)
            shell.wait()


def ledger_of_emulator(port: int) -> list[Any]:
    with suppress(httpx.ConnectError):
        return list(httpx.get(f"http://127.0.0.1:{port}/_emulator/ledger").json())
    return []


def read_variables(path: Path) -> dict[str, str]:
    entries = path.read_text().split("\0")
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


def check_variables(
    variables: dict[str, str], before: dict[str, str], monkeypatch: pytest.MonkeyPatch, step: Block
) -> None:
    """Hold what a step has set to what exists: the connection can be used, and Airflow knows the option."""
    from airflow.configuration import conf

    for name, value in variables.items():
        if value == before.get(name):
            continue
        if name.startswith("AIRFLOW_CONN_") and json.loads(value)["conn_type"] == "wan":
            monkeypatch.setenv(name, value)
            account = WanHook(name.removeprefix("AIRFLOW_CONN_").lower()).account
            assert not account.warnings, f"{step}: {account.warnings}"
        elif name.startswith("AIRFLOW__"):
            _, section, option = name.split("__")
            assert conf.has_option(section.lower(), option.lower()), f"{step}: there is no option {name}"
