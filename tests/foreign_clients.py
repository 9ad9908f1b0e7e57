"""Programs that nobody here wrote, each a process of its own, and the video that it must have made.

`make clients` installs them. A test of a client that is not installed, or not in the pinned version, is skipped.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import httpx
import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_wan.emulator.testing import RunningEmulator

KEY = "sk-contract-0123456789"

CDN = "https://your-cdn.com/"
FIRST, LAST, VOICE, CLIP = (CDN + name for name in ("first.png", "last.png", "voice.wav", "clip.mp4"))
"""Media that the emulator of the fixture `media_mirrors` can fetch: two images, 3 s of sound, a clip of 3 s."""

_REPOSITORY = Path(__file__).parent.parent
_SCRIPTS = _REPOSITORY / "tests" / "contract" / "clients"
_PYTHON = _REPOSITORY / ".venvs" / "clients"
_END_S = 10.0


def npm_client(script: str) -> list[str]:
    """Return the command of a script that uses the packages of package.json; skip the test if they are absent."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("npm's clients need node, which is not on PATH")
    for folder, pin in json.loads((_SCRIPTS / "package.json").read_text())["dependencies"].items():
        manifest = _SCRIPTS / "node_modules" / folder / "package.json"
        found = json.loads(manifest.read_text())["version"] if manifest.exists() else None
        _skip_unless(found, pin.rpartition("@")[2], f"the npm package {folder}")
    return [node, str(_SCRIPTS / script)]


def python_client(package: str, *command: str) -> list[str]:
    """Return a command of the clients' virtual environment; skip the test if the package is absent there."""
    pins = dict(
        re.findall(r"^([\w-]+)==([\w.]+)", (_REPOSITORY / "constraints" / "clients.txt").read_text(), re.MULTILINE)
    )
    infos = [path.name for path in _PYTHON.glob(f"lib/python*/site-packages/{package.replace('-', '_')}-*.dist-info")]
    found = infos[0].removesuffix(".dist-info").rpartition("-")[2] if infos else None
    _skip_unless(found, pins[package], f"the Python package {package}")
    program, *arguments = command
    return [str(_PYTHON / "bin" / program), *(str(_SCRIPTS / name) for name in arguments)]


def _skip_unless(found: str | None, wanted: str, what: str) -> None:
    if found != wanted:
        pytest.skip(f"{what} must have version {wanted}, and {found or 'none'} is installed; run `make clients`")


class ForeignClient:
    """A running program that reads one JSON value a line and answers likewise, for the duration of a `with` block.

    :param command: the program and its arguments.
    :param home: the directory that is its HOME, and gets what it writes to stderr.
    :param variables: what it finds in its environment besides PATH and HOME.
    """

    def __init__(self, command: Sequence[str], home: Path, **variables: str) -> None:
        self._command = command
        self._stderr = home / "stderr.txt"
        self._environment = {"PATH": os.environ["PATH"], "HOME": str(home), **variables}

    def __enter__(self) -> Self:
        with self._stderr.open("w") as stderr:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                env=self._environment,
                cwd=self._stderr.parent,
            )
        assert self._process.stdin
        assert self._process.stdout
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        return self

    def __exit__(self, *_: object) -> None:
        self._stdin.close()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._stdout.close()

    def tell(self, value: object) -> None:
        """Send one value."""
        self._stdin.write(json.dumps(value) + "\n")
        self._stdin.flush()

    def ask(self, value: object) -> dict[str, Any]:
        """Send one value and return the answer."""
        self.tell(value)
        line = self._stdout.readline()
        assert line, f"{self._command} ended: {self._stderr.read_text()}"
        answer: dict[str, Any] = json.loads(line)
        return answer


def assert_the_one_video(content: bytes, emulator: RunningEmulator) -> None:
    """Check that the emulator received one create, sold one video, and that this is it, byte for byte."""
    (task,) = emulator.ledger()
    assert task["billed"]
    assert len(emulator.requests()) == 1
    answer = httpx.get(
        f"{emulator.base_url}/api/v1/tasks/{task['task_id']}", headers={"Authorization": f"Bearer {KEY}"}
    ).raise_for_status()
    assert content[4:8] == b"ftyp"
    assert content == httpx.get(answer.json()["output"]["video_url"]).raise_for_status().content
