"""On a terminal, bars tell queue, running and download apart; and how the command line is started."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import urllib.request
from typing import TYPE_CHECKING

import airflow
import pytest
from command_lines import KEY, TEXT_TO_VIDEO, wait_until
from packaging.version import Version

if TYPE_CHECKING:
    from command_lines import CommandLine


@pytest.mark.takes_time
def test_three_bars_on_a_terminal(dashscope: CommandLine) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "airflow_wan.cli", "generate", *TEXT_TO_VIDEO, "-o", str(dashscope.video)],
        stdin=theirs, stdout=theirs, stderr=theirs, cwd=dashscope.folder, env={**os.environ, "COLUMNS": "150"},
    )  # fmt: skip
    os.close(theirs)
    shown = ""
    while piece := _read(ours):
        shown += piece
    os.close(ours)
    dashscope.printed.append(shown)

    assert process.wait(timeout=30) == 0
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown)
    assert re.search(r"queue +━+ +\d+ s", text)
    assert re.search(r"running +[━╸╺]+ +\d+ s", text)
    assert re.search(r"download +━+ +\d+\.\d MB of \d+\.\d MB", text)


def _read(descriptor: int) -> str:
    try:
        return os.read(descriptor, 4096).decode(errors="replace")
    except OSError:  # the other end is closed
        return ""


def test_help_comes_without_airflow() -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('airflow', 'httpx', 'pydantic', 'sqlalchemy')))\n"
        "from airflow_wan.cli.main import main; main(['--help'])"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}

    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert "generate" in done.stdout


def test_without_its_packages_it_says_which_extra_to_install() -> None:
    code = "import sys; sys.modules['typer'] = None\nfrom airflow_wan.cli.main import main; main(['--help'])"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert "airflow-provider-wan[cli]" in done.stderr


@pytest.mark.skipif(Version(airflow.__version__) < Version("3.2"), reason="Airflow takes no commands of providers")
def test_airflow_has_the_commands_too(dashscope: CommandLine) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "airflow", "wan", *arguments],
            cwd=dashscope.folder, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    listed, made = run("help"), run("generate", *TEXT_TO_VIDEO, "-o", "out.mp4", "--json")

    assert "generate" in listed.stdout
    assert made.returncode == 0, made.stderr
    assert dashscope.video.exists()
    assert KEY not in made.stdout + made.stderr


@pytest.mark.skipif(Version(airflow.__version__) >= Version("3.2"), reason="Airflow takes commands of providers")
def test_an_older_airflow_says_nothing_of_the_commands() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "airflow", "version"], capture_output=True, text=True, timeout=120, check=False
    )

    assert done.returncode == 0
    assert "wan" not in done.stdout + done.stderr


def test_the_emulator_is_started_in_its_place(dashscope: CommandLine) -> None:
    process = dashscope.start("emulator", "--port", "0")
    wait_until(lambda: re.search(r"http://127\.0\.0\.1:\d+", process.err), process)
    (base_url,) = re.findall(r"http://127\.0\.0\.1:\d+", process.err)

    with urllib.request.urlopen(f"{base_url}/_emulator/ledger") as answer:
        assert answer.status == 200
