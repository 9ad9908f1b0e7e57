"""One real Airflow and two emulators for the whole test session. Each is a process of its own."""

from __future__ import annotations

import shutil
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

# Test folders are not packages: the modules that these tests share lie in this folder.
sys.path.insert(0, str(Path(__file__).parent))

from airflow_processes import Airflow, wait_for
from dag_runs import SLOW_S, running_emulator
from journeys import REFUSED_KEY, Stage

from airflow_wan.emulator.testing import MediaServer

if TYPE_CHECKING:
    from collections.abc import Iterator

CASE_TIMEOUT_S = 400


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give these tests more time, and run the scan for secrets after all tests that could leak one."""
    ours = [item for item in items if item.path.parent == Path(__file__).parent]
    for item in ours:
        item.add_marker(pytest.mark.timeout(CASE_TIMEOUT_S))
    ours.sort(key=lambda item: "secret" in item.path.name)
    items[:] = [item for item in items if item not in ours] + ours


@pytest.fixture(scope="session")
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    """Start Airflow, the emulators and a media server; keep their logs if a test fails."""
    folder = Path(tempfile.mkdtemp(prefix="airflow-wan-system-"))
    for name in ("media", "pauses"):
        (folder / name).mkdir()
    light = Image.radial_gradient("L").resize((640, 360)).convert("RGB")
    for name, colour in {"first": "purple", "red": "red", "green": "lime", "blue": "blue"}.items():
        Image.blend(Image.new("RGB", (640, 360), colour), light, 0.4).save(folder / "media" / f"{name}.png")
    options = {"AIRFLOW__WAN__POLL_INTERVAL": "0.5", "AIRFLOW__WAN__OUTPUT_BASE": str(folder / "videos")}
    with ExitStack() as running:
        media = running.enter_context(MediaServer(folder / "media"))
        quick = running.enter_context(
            running_emulator(folder / "quick.log", "--pending-s", "1", "--running-s", "2", "--reject-key", REFUSED_KEY)
        )
        slow = running.enter_context(
            running_emulator(folder / "slow.log", "--pending-s", str(SLOW_S), "--running-s", str(SLOW_S))
        )
        dags = Path(__file__).parent / "dags"
        airflow = running.enter_context(Airflow(folder / "airflow", dags, options))
        wait_for("the DAGs", lambda: len(airflow.rest.get("/api/v2/dags")["dags"]) >= 4, 60)
        yield Stage(airflow, quick, slow, media, folder)
    if request.session.testsfailed:
        sys.stderr.write(f"\nThe logs of all processes are kept in {folder}.\n")
    else:
        shutil.rmtree(folder, ignore_errors=True)
