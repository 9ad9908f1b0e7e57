"""Starts the command line: as `airflow-wan`, as `airflow wan`, and as `python -m airflow_wan.cli`."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

STOPPED = 130
"""The exit code after Ctrl-C (128 + SIGINT), as of any other command."""


def main(arguments: Sequence[str] | None = None, *, name: str = "airflow-wan") -> None:
    """Run one command, and end the process with its exit code.

    :param arguments: what follows the name on the command line; by default that of this process.
    :param name: how the command line was called.
    """
    try:
        from airflow_wan.cli.app import app  # noqa: PLC0415 - typer may be missing
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("typer", "rich"):
            raise
        sys.exit(f"{name} needs the package {error.name!r}: pip install 'airflow-provider-wan[cli]'")
    try:
        app(args=None if arguments is None else list(arguments), prog_name=name)
    except KeyboardInterrupt:
        sys.exit(STOPPED)


def run_alone() -> None:
    """Run `airflow-wan`: without Airflow's database, its logs and its plugins."""
    # Airflow would set up its logs and the access to its database as soon as it is imported.
    os.environ.setdefault("_AIRFLOW__AS_LIBRARY", "1")
    main()


def run_for_airflow(given: Any) -> None:
    """Run `airflow wan …`.

    :param given: what Airflow's parser found: ``arguments`` are those behind ``wan``.
    """
    arguments = list(given.arguments)
    main(["--help"] if arguments in ([], ["help"]) else arguments, name="airflow wan")
