"""`make ui`: starts the demo's Airflow with its web interface, until Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from demo_stage import AIRFLOW, DEMO, confirm_spending, free_port, gateway, prepare_airflow, run_quietly

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOG = DEMO / "standalone.log"
_START_S = 180.0
_STOP_S = 20.0
_COMPONENTS = ("metadatabase", "scheduler", "triggerer", "dag_processor")
_VIDEOS_S = 300.0
# The DAGs whose videos are made at the first start.
_PORTRAIT, _PRODUCTS = "example_wan_rap", "example_wan_many_clips"


def main() -> None:
    """Run until Ctrl-C."""
    port = _asked_port() or free_port()
    url = f"http://127.0.0.1:{port}"
    # Slow enough to watch. Besides, Airflow treats a task that is deferred for a second as changed from outside.
    with gateway(pending_s=5, running_s=15) as wan:
        if wan.is_real:
            confirm_spending("Each DAG run that you trigger in this Airflow sends paid requests to a real gateway.")
        prepare_airflow(wan, poll_interval_s=5)
        # example_wan_many_clips uses this pool.
        run_quietly(AIRFLOW, "pools", "set", "--include-deferred", "wan", "4", "Wan jobs at the same time")
        print(f"Starting Airflow (log: {_LOG}) …", flush=True)
        with _standalone(url) as airflow, suppress(KeyboardInterrupt):
            _wait_until_healthy(url, airflow)
            pages = "" if wan.is_real else _pages_about_videos(url)
            print(
                f"\n  {url}\n\n{pages}"
                "Only this machine can reach these pages. There is no login: whoever opens them is an administrator.\n"
                "For another video, choose the DAG example_wan_rap, and press Trigger. Keep the defaults.\n"
                f"Videos are saved in {DEMO / 'videos'}. Press Ctrl-C to stop.",
                flush=True,
            )
            airflow.wait()
            sys.exit(f"Airflow ended unexpectedly. See {_LOG}.")
        print("\nStopped.")


def _pages_about_videos(url: str) -> str:
    """Have some videos made if there are none yet, and return where Airflow shows them."""
    airflow = _Rest(url)
    print("Making some videos to look at …", flush=True)
    for dag_id in (_PORTRAIT, _PRODUCTS):
        airflow.unpause(dag_id)
    if airflow.last_run(_PORTRAIT) is None:
        # A picture on this machine is one that the page can show.
        airflow.trigger(_PORTRAIT, {"first_frame": f"{DEMO}/media/rap.png"})
    portrait, products = (
        f"{url}/dags/{dag_id}/runs/{quote(airflow.run_that_has_ended(dag_id))}" for dag_id in (_PORTRAIT, _PRODUCTS)
    )
    return (
        f"  a video                 {portrait}/tasks/wait/plugin/wan_video\n"
        f"  the videos of a DAG run {products}/plugin/wan_sheet\n"
        f"  all videos              {url}/plugin/wan_gallery\n\n"
    )


class _Rest:
    """Airflow's REST API, as an administrator."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._token = ""
        self._token = self._call("GET", "/auth/token")["access_token"]

    def unpause(self, dag_id: str) -> None:
        self._call("PATCH", f"/api/v2/dags/{dag_id}", {"is_paused": False})

    def trigger(self, dag_id: str, conf: dict[str, str]) -> None:
        self._call("POST", f"/api/v2/dags/{dag_id}/dagRuns", {"logical_date": None, "conf": conf})

    def last_run(self, dag_id: str) -> dict[str, Any] | None:
        runs = self._call("GET", f"/api/v2/dags/{dag_id}/dagRuns?order_by=-run_after&limit=1")["dag_runs"]
        return runs[0] if runs else None

    def run_that_has_ended(self, dag_id: str) -> str:
        """Return the id of the last run of a DAG once it has ended."""
        deadline = time.monotonic() + _VIDEOS_S
        while time.monotonic() < deadline:
            run = self.last_run(dag_id)
            if run and run["state"] in {"success", "failed"}:
                return str(run["dag_run_id"])
            time.sleep(1)
        sys.exit(f"The DAG {dag_id} did not end. See {_LOG}.")

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self._token}"}
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(self._url + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)


def _asked_port() -> int | None:
    """Return the port that the environment asks for, if it is free; exit if it is not."""
    text = os.environ.get("PORT", "")
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and 0 < int(text) < 65536):  # noqa: PLR2004
        sys.exit(f"PORT={text} is not a port number.")
    try:
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", int(text)))
    except OSError as error:
        sys.exit(f"Port {text} cannot be used ({error.strerror}). Choose another one: make ui PORT=…")
    return int(text)


@contextmanager
def _standalone(url: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run `airflow standalone`, and end all its processes together."""
    os.environ |= {
        # There is no login, so nobody else on the network may reach it.
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": url.rpartition(":")[2],
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__CORE__PARALLELISM": "4",
        # Seconds. On a slow machine, the first call of the execution API takes longer than the default of 5.
        "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "60",
        # Another Airflow on this machine may use the default ports.
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(free_port()),
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(free_port()),
    }
    with (
        _LOG.open("w") as log,
        # In a process group of its own: Ctrl-C then reaches only this script, which ends the whole group.
        subprocess.Popen([AIRFLOW, "standalone"], stdout=log, stderr=log, start_new_session=True) as airflow,
    ):
        try:
            yield airflow
        finally:
            _end_group(airflow)


def _end_group(leader: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(leader.pid, number)
            deadline = time.monotonic() + _STOP_S
            while time.monotonic() < deadline:
                leader.poll()
                os.killpg(leader.pid, 0)  # raises when the last process has ended
                time.sleep(0.1)


def _wait_until_healthy(url: str, airflow: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_S
    while airflow.poll() is None and time.monotonic() < deadline:
        with suppress(OSError), urllib.request.urlopen(f"{url}/api/v2/monitor/health", timeout=5) as answer:
            health = json.load(answer)
            if all(health[name]["status"] == "healthy" for name in _COMPONENTS):
                return
        time.sleep(0.5)
    sys.exit(f"Airflow did not start. See {_LOG}.")


if __name__ == "__main__":
    main()
