"""What all tests share: an Airflow home that lasts as long as the process, and hypothesis's profiles."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:
    from airflow_wan.emulator.settings import Settings

REPOSITORY = Path(__file__).parent.parent
_HOME = Path(tempfile.mkdtemp(prefix="airflow-wan-tests-"))


def _own_environment() -> dict[str, str]:
    """Return this process's variables without the developer's Airflow, and with a home of the tests' own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW_", "AIRFLOW__", "WAN_"))}
    return kept | {
        "AIRFLOW_HOME": str(_HOME),
        "AIRFLOW__CORE__DAGS_FOLDER": str(REPOSITORY / "example_dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{_HOME}/airflow.db",
        # Seconds between two questions to the emulator, whose tasks take less than a second.
        "AIRFLOW__WAN__POLL_INTERVAL": "0.2",
    }


# Before the first test module imports airflow, which reads all this once. Each pytest-xdist worker has its own.
_ENVIRONMENT = _own_environment()
os.environ.clear()
os.environ.update(_ENVIRONMENT)

# Few examples for whoever waits for the result, many where CI is set. No deadline: the machine may be busy.
_ANY_PACE = {"deadline": None, "suppress_health_check": list(hypothesis.HealthCheck)}
hypothesis.settings.register_profile("dev", max_examples=25, **_ANY_PACE)
hypothesis.settings.register_profile("ci", max_examples=100, print_blob=True, **_ANY_PACE)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "dev")


def pytest_unconfigure() -> None:
    """Remove the Airflow home."""
    # Third parties that log at the end of the process find their stream closed; nobody needs to read about that.
    logging.raiseExceptions = False
    shutil.rmtree(_HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def airflow_home() -> Path:
    """Return the AIRFLOW_HOME of the tests."""
    return _HOME


@pytest.fixture
def wan_emulator_settings(request: pytest.FixtureRequest) -> Settings:
    """Return settings with which a video is finished at the first poll; in 0.6 s or never if a test's marker says so."""
    from airflow_wan.emulator.testing import AT_ONCE, FAST

    if request.node.get_closest_marker("stays_queued"):
        return replace(FAST, pending_s=3600.0)
    return FAST if request.node.get_closest_marker("takes_time") else AT_ONCE


@pytest.fixture(scope="session")
def airflow_db(airflow_home: Path) -> Path:
    """Return the metadata database with its tables; the first test that asks for it makes them (about 2 s)."""
    from airflow.utils import db

    db.initdb()
    return airflow_home / "airflow.db"
