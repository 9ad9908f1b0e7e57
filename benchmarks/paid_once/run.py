"""Orders the same video in four ways with the same faults, and counts how often it is paid for and whether it arrives.

One real Airflow runs all DAGs. Each run has its own emulator, so that a fault strikes only its own run.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import httpx
import psutil
from cases import CASES, CONTENDERS, PRELOADED, Case, Contender, Kill
from PIL import Image
from report import Outcome, page, table

REPOSITORY = Path(__file__).resolve().parents[2]
# The tests have an Airflow whose processes can be killed.
sys.path.insert(0, str(REPOSITORY / "tests"))

from airflow_processes import Airflow, wait_for  # noqa: E402

from airflow_wan.emulator.testing import FAST, MediaServer, RunningEmulator  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterable

IN_FLIGHT = 8
LONGEST_RUN_S = 300.0
PAUSE_BETWEEN_LOOKS_S = 0.3


@dataclass
class Run:
    """One contender in one case."""

    case: Case
    contender: Contender
    airflow: Airflow
    folder: Path
    first_frame: str
    _emulator: RunningEmulator = field(default_factory=lambda: RunningEmulator(FAST))
    _is_killed: bool = False

    def start(self) -> None:
        """Add the fault to the emulator, and trigger the DAG run with a connection of its own."""
        self._emulator.__enter__()
        if self.case.fault:
            self._emulator.add_fault(**self.case.fault)
        self.conn_id = f"{self.contender.dag_id}_{CASES.index(self.case)}"
        key = f"sk-{secrets.token_hex(16)}"
        connection = self.contender.connection(self._emulator.base_url, key, self.case.timeout)
        self.airflow.rest.post("/api/v2/connections", {"connection_id": self.conn_id, **connection})
        conf = {
            "conn_id": self.conn_id,
            "first_frame": self.first_frame,
            "output_path": str(self._video),
        }
        body = {"dag_run_id": self.conn_id, "logical_date": None, "conf": conf}
        self.airflow.rest.post(f"/api/v2/dags/{self.contender.dag_id}/dagRuns", body)
        self._deadline = time.monotonic() + LONGEST_RUN_S

    def look(self) -> Outcome | None:
        """Kill the process if it is time to; return the outcome if the run has ended."""
        if self.case.kill and not self._is_killed and any(row["holding"] for row in self._emulator.faults()):
            self._is_killed = self._kill_waiting_process()
        state = self._state()
        if state in ("success", "failed"):
            return self._outcome(state)
        return self._outcome("unfinished") if time.monotonic() > self._deadline else None

    def close(self) -> None:
        """Stop the emulator."""
        self._emulator.__exit__()

    @property
    def _folder(self) -> Path:
        return self.folder / "videos" / self.conn_id

    @property
    def _video(self) -> Path:
        return self._folder / "video.mp4"

    def _state(self) -> str:
        with suppress(httpx.HTTPError):
            path = f"/api/v2/dags/{self.contender.dag_id}/dagRuns/{self.conn_id}"
            return str(self.airflow.rest.get(path)["state"])
        return "unknown"

    def _kill_waiting_process(self) -> bool:
        """Kill the process that waits for the held answer: a task's own, or the whole triggerer."""
        for component in list(self.airflow.components.values()):
            for process in component.family():
                if not _talks_to(process, self._emulator.base_url):
                    continue
                if component.name == "triggerer":
                    component.kill()
                    component.start()
                else:
                    process.kill()
                return True
        return False

    def _outcome(self, state: str) -> Outcome:
        if any(row["left"] for row in self._emulator.faults()) or (self.case.kill and not self._is_killed):
            raise RuntimeError(f"{self.conn_id} ended as {state}, but its fault or kill has not happened.")
        files = [path for path in self._folder.rglob("*") if path.is_file()]
        return Outcome(
            billed=sum(row["billed"] for row in self._emulator.ledger()),
            videos=int(_is_whole_video(self._video)),
            is_broken=self._video in files and not _is_whole_video(self._video),
            leftovers=sum(path != self._video for path in files),
            state=state,
        )


def _talks_to(process: psutil.Process, url: str) -> bool:
    port = int(url.rpartition(":")[2])
    with suppress(psutil.Error):
        return any(one.raddr and one.raddr.port == port for one in process.net_connections("tcp4"))
    return False


def _is_whole_video(path: Path) -> bool:
    try:
        with av.open(str(path)) as container:
            return sum(1 for _ in container.decode(video=0)) == container.streams.video[0].frames > 0
    except (OSError, av.FFmpegError):
        return False


def main() -> None:
    """Run all cases, print the table, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=REPOSITORY / "docs" / "paid_once_comparison.md")
    parser.add_argument(
        "--only", default="", help="run only cases whose title contains this text; the page is not written then"
    )
    chosen = parser.parse_args()
    started = time.monotonic()
    cases = [case for case in CASES if chosen.only in case.title]
    with tempfile.TemporaryDirectory(prefix="paid-once-") as folder:
        outcomes = _run_all(cases, Path(folder))
    took_s = time.monotonic() - started
    shown = table(cases, CONTENDERS, outcomes)
    print(shown)
    if not chosen.only:
        chosen.output.write_text(page(shown, took_s))


def _run_all(cases: Iterable[Case], folder: Path) -> dict[tuple[Case, Contender], Outcome]:
    outcomes: dict[tuple[Case, Contender], Outcome] = {}
    options = {"AIRFLOW__WAN__POLL_INTERVAL": "1"}
    (folder / "media").mkdir()
    Image.linear_gradient("L").resize((640, 360)).convert("RGB").save(folder / "media" / "first.png")
    with ExitStack() as running:
        media = running.enter_context(MediaServer(folder / "media"))
        airflow = Airflow(folder / "airflow", Path(__file__).parent / "dags", options, PRELOADED)
        running.enter_context(airflow)
        wait_for("the DAGs", lambda: len(airflow.rest.get("/api/v2/dags")["dags"]) == len(CONTENDERS))
        print("Airflow is up.", file=sys.stderr, flush=True)
        quiet = [case for case in cases if case.kill is not Kill.DURING_POLL]
        for together in (quiet, [case for case in cases if case not in quiet]):
            runs = [Run(case, way, airflow, folder, media.url("first.png")) for case in together for way in CONTENDERS]
            outcomes |= _run_together(runs)
    return outcomes


def _run_together(waiting: list[Run]) -> dict[tuple[Case, Contender], Outcome]:
    outcomes: dict[Any, Outcome] = {}
    in_flight: list[Run] = []
    while waiting or in_flight:
        while waiting and len(in_flight) < IN_FLIGHT:
            run = waiting.pop(0)
            run.start()
            in_flight.append(run)
        time.sleep(PAUSE_BETWEEN_LOOKS_S)
        for run in list(in_flight):
            outcome = run.look()
            if outcome is None:
                continue
            in_flight.remove(run)
            run.close()
            outcomes[run.case, run.contender] = outcome
            print(f"{run.case.title} | {run.contender.title} | {outcome}", file=sys.stderr, flush=True)
    return outcomes


if __name__ == "__main__":
    main()
