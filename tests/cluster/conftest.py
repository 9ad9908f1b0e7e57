"""One cluster for the whole test session, its gateways and its pictures."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

# Test folders are not packages: the modules that these tests share lie in this folder.
sys.path.insert(0, str(Path(__file__).parent))

from cluster_parts import missing_parts

if missing := missing_parts():
    pytest.exit(f"A cluster needs {', '.join(missing)}. `make test-cluster` installs them.", 1)

from airflow_cluster import WORKERS, Cluster
from airflow_processes import wait_for
from cluster_stage import CLIPS, CONN_ON_WORKERS, KEY_ON_WORKERS, LONGEST_S, Stage, draw_pictures
from dag_runs import SLOW_S, running_emulator

from airflow_wan.emulator.testing import MediaServer

if TYPE_CHECKING:
    from collections.abc import Iterator

OPTIONS = {"AIRFLOW__WAN__POLL_INTERVAL": "5"}
CASE_TIMEOUT_S = 4 * LONGEST_S
DAGS = Path(__file__).parent / "dags"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give these tests more time."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.timeout(CASE_TIMEOUT_S))


@pytest.fixture(scope="session")
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    """Start the cluster, the emulators and a media server; keep their logs if a test fails."""
    folder = Path(tempfile.mkdtemp(prefix="airflow-wan-cluster-"))
    (folder / "media").mkdir()
    draw_pictures(folder / "media", max(CLIPS, 20))
    with ExitStack() as running:
        media = running.enter_context(MediaServer(folder / "media"))
        quick = running.enter_context(
            running_emulator(folder / "quick.log", "--pending-s", "1", "--running-s", "4", limits=True)
        )
        slow = running.enter_context(
            running_emulator(folder / "slow.log", "--pending-s", str(SLOW_S), "--running-s", str(SLOW_S))
        )
        on_workers = {
            "conn_type": "wan",
            "host": quick.url,
            "password": KEY_ON_WORKERS,
            "extra": {"gateway": "dashscope", "read_time": 60},  # a misspelt name
        }
        only_there = {f"AIRFLOW_CONN_{CONN_ON_WORKERS.upper()}": json.dumps(on_workers)}
        cluster = running.enter_context(
            Cluster(folder / "cluster", DAGS, OPTIONS, machine_options=dict.fromkeys(WORKERS, only_there))
        )
        cluster.connect_store()
        wait_for("the DAGs", lambda: len(cluster.rest.get("/api/v2/dags")["dags"]) >= 4, LONGEST_S)
        yield Stage(cluster, quick, slow, media, folder)
    if request.session.testsfailed:
        sys.stderr.write(f"\nThe logs of all processes are kept in {folder}.\n")
    else:
        shutil.rmtree(folder, ignore_errors=True)
