"""Measures for how many seconds a video holds a worker slot, with the DAGs that benchmarks/paid_once compares.

One real Airflow runs all DAGs at the same time. Each way has an emulator of its own, whose tasks take as long as was
published of wan2.7 at 720P.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg2
from PIL import Image

BENCHMARKS = Path(__file__).resolve().parents[1]
# The tests have an Airflow of real processes.
sys.path[:0] = [str(BENCHMARKS), str(BENCHMARKS / "paid_once"), str(BENCHMARKS.parent / "tests")]

from airflow_processes import Airflow, wait_for  # noqa: E402
from cases import CONTENDERS, PRELOADED  # noqa: E402
from page import Table, machine, write_section  # noqa: E402

from airflow_wan.emulator.testing import Durations, MediaServer, RunningEmulator, Settings  # noqa: E402

if TYPE_CHECKING:
    from cases import Contender

LOOK_EVERY_S = 0.1
START_EVERY_S = 2.0
LONGEST_RUN_S = 1200.0
# A slot is in use from the moment in which the worker has told Airflow that the task runs.
RUNNING = "SELECT dag_id, count(*) FROM task_instance WHERE state = 'running' GROUP BY dag_id"
ENDED = "SELECT dag_id, state FROM dag_run WHERE state IN ('success', 'failed')"
PACKAGES = ("apache-airflow-providers-http", "dashscope")


def main() -> None:
    """Run the DAGs, print the table, and write its section of the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=5, help="videos for each way")
    videos = parser.parse_args().videos
    started = time.monotonic()
    slot_s, reads = _measure(videos)
    ours_s = slot_s[CONTENDERS[0].dag_id] / videos
    rows = [
        [
            way.title,
            f"{slot_s[way.dag_id] / videos:.1f}",
            f"1 : {slot_s[way.dag_id] / videos / ours_s:.1f}",
            f"{reads[way.dag_id] / videos:.1f}",
        ]
        for way in CONTENDERS
    ]
    shown = str(Table(["way", "worker-slot seconds a video", "ratio", "reads a video"], rows))
    print(shown)
    write_section("slots", f"{shown}\n{videos} videos each. {machine(PACKAGES, time.monotonic() - started)}")


def _measure(videos: int) -> tuple[dict[str, float], dict[str, int]]:
    """Return the seconds of worker slots and the reads of all videos, by DAG."""
    with ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="slots-")))
        (folder / "media").mkdir()
        Image.linear_gradient("L").resize((640, 360)).convert("RGB").save(folder / "media" / "first.png")
        first_frame = running.enter_context(MediaServer(folder / "media")).url("first.png")
        options = {"AIRFLOW__CORE__PARALLELISM": str(4 * videos * len(CONTENDERS))}
        airflow = Airflow(folder / "airflow", BENCHMARKS / "paid_once" / "dags", options, PRELOADED)
        running.enter_context(airflow)
        wait_for("the DAGs", lambda: len(airflow.rest.get("/api/v2/dags")["dags"]) == len(CONTENDERS))
        emulators = {}
        for way in CONTENDERS:
            settings = Settings(pending_s=0, durations=Durations.SPREAD)
            emulators[way.dag_id] = running.enter_context(RunningEmulator(settings))
            _connect(airflow, way, emulators[way.dag_id].base_url)
        print("Airflow is up.", file=sys.stderr, flush=True)
        database = running.enter_context(closing(psycopg2.connect(airflow.database.get_uri())))
        database.autocommit = True
        slot_s: dict[str, float] = defaultdict(float)
        to_start = [(way, number) for number in range(videos) for way in CONTENDERS]
        wanted = len(to_start)
        begun = looked_at = time.monotonic()
        with database.cursor() as cursor:
            while True:
                if to_start and time.monotonic() - begun >= START_EVERY_S * (wanted - len(to_start)):
                    _start(airflow, *to_start.pop(0), first_frame, folder)
                time.sleep(LOOK_EVERY_S)
                cursor.execute(RUNNING)
                now = time.monotonic()
                for dag_id, tasks in cursor.fetchall():
                    slot_s[dag_id] += tasks * (now - looked_at)
                looked_at = now
                cursor.execute(ENDED)
                ended = cursor.fetchall()
                if failed := [dag_id for dag_id, state in ended if state == "failed"]:
                    raise RuntimeError(f"A run of {failed[0]} has failed.")
                if len(ended) == wanted:
                    break
                if now - begun > LONGEST_RUN_S:
                    raise TimeoutError(f"Only {len(ended)} of {wanted} runs have ended.")
        reads = {
            dag_id: sum(emulator.counts()[kind]["requests"] for kind in ("poll", "list"))
            for dag_id, emulator in emulators.items()
        }
    return slot_s, reads


def _connect(airflow: Airflow, way: Contender, base_url: str) -> None:
    connection = way.connection(base_url, f"sk-{secrets.token_hex(16)}", None)
    airflow.rest.post("/api/v2/connections", {"connection_id": way.dag_id, **connection})


def _start(airflow: Airflow, way: Contender, number: int, first_frame: str, folder: Path) -> None:
    conf = {
        "conn_id": way.dag_id,
        "first_frame": first_frame,
        "output_path": str(folder / "videos" / way.dag_id / f"{number}.mp4"),
    }
    body = {"dag_run_id": str(number), "logical_date": None, "conf": conf}
    airflow.rest.post(f"/api/v2/dags/{way.dag_id}/dagRuns", body)


if __name__ == "__main__":
    main()
