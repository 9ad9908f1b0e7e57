"""On a terminal, bars tell queue, running and download apart; and how the command line is started."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import airflow
import pytest
from command_lines import KEY, TEXT_TO_VIDEO, on_a_terminal, wait_until
from packaging.version import Version
from PIL import Image
from terminal_screen import lines_of

if TYPE_CHECKING:
    from command_lines import CommandLine

PAGE = (Path(__file__).parents[3] / "docs" / "command_line.md").read_text()


def shape(line: str) -> str:
    """Return a line without what differs from run to run."""
    line = re.sub(r"[0-9a-f]{8}(-[0-9a-f]+){4}", "ID", line)
    line = re.sub(r"/\S*/", "/", line)
    return re.sub(r"\d+(\.\d+)?( min \d+)?", "N", line)


def recorded(command: str) -> list[str]:
    """Return what the page says that a command shows."""
    (block,) = (block for block in re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL) if f"$ {command}" in block)
    return block.partition("\n\n")[0].splitlines()[1:]


@pytest.mark.takes_time
def test_the_recording_in_the_documentation_is_what_a_terminal_shows(dashscope: CommandLine) -> None:
    Image.linear_gradient("L").resize((1280, 720)).convert("RGB").save(dashscope.folder / "mug.png")
    (command,) = set(re.findall(r"^\$ (airflow-wan generate .*)$", PAGE, re.MULTILINE))

    done = on_a_terminal(dashscope.folder, *shlex.split(command)[1:], COLUMNS="110")
    assert done.code == 0
    shown = lines_of(done.out)

    dashscope.printed += shown
    assert [shape(line) for line in shown] == [shape(line) for line in recorded(command)]
    assert len(shown) == 6


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
