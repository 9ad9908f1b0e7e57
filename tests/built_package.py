"""The package as it was built, and an environment that it was installed into."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

UV = Path(sys.executable).with_name("uv")


@dataclass(frozen=True)
class Distributions:
    """What was built of one version."""

    wheel: Path
    sdist: Path


@dataclass(frozen=True)
class Installed:
    """An environment that has the package, and an Airflow home of its own."""

    airflow_version: str
    python: Path
    folder: Path
    environment: dict[str, str]

    def run(self, program: str, *arguments: str) -> str:
        """Run a program of the environment, and return what it prints."""
        return run(self.python.with_name(program), *arguments, env=self.environment, cwd=self.folder)

    def airflow(self, *arguments: str) -> str:
        """Run an `airflow` command, and return what it prints."""
        return self.run("airflow", *arguments)


def run(*command: str | Path, **options: object) -> str:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout
    return done.stdout
