"""What Airflow (3.2 and later) makes `airflow wan` of. It runs in every `airflow` command, so it imports little."""

from __future__ import annotations

from typing import Any


def get_wan_cli_commands() -> list[Any]:
    """Return the command `wan`, which hands everything behind it on to `airflow_wan.cli.main`."""
    from airflow.cli.cli_config import ActionCommand, Arg, lazy_load_command  # noqa: PLC0415 - for Airflow's own commands

    return [
        ActionCommand(
            name="wan",
            help="Make videos with Alibaba's Wan models; the same as airflow-wan",
            description="Make videos with Alibaba's Wan models. `airflow wan help` lists the commands.",
            func=lazy_load_command("airflow_wan.cli.main.run_for_airflow"),
            args=(Arg(("arguments",), nargs="...", metavar="COMMAND", help="generate, status, fetch, list, ..."),),
        )
    ]
