"""A throw-away Airflow for the tests: its home stands before the first test module imports airflow."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
_HOME = Path(tempfile.mkdtemp(prefix="airflow-wan-tests-"))


def _own_environment() -> dict[str, str]:
    """This process's variables without the developer's Airflow, and with a home of the tests' own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW_", "AIRFLOW__", "WAN_"))}
    return kept | {
        "AIRFLOW_HOME": str(_HOME),
        "AIRFLOW__CORE__DAGS_FOLDER": str(REPOSITORY / "example_dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{_HOME}/airflow.db",
        # The least, in seconds, that the emulator's quick tasks are worth waiting between two asks.
        "AIRFLOW__WAN__POLL_INTERVAL": "0.2",
    }


_ENVIRONMENT = _own_environment()
os.environ.clear()
os.environ.update(_ENVIRONMENT)


def pytest_unconfigure() -> None:
    """Take the home away."""
    # Third parties that log while they are torn down find their stream closed; nobody has to read of it.
    logging.raiseExceptions = False
    shutil.rmtree(_HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def airflow_home() -> Path:
    """AIRFLOW_HOME of the tests."""
    return _HOME


@pytest.fixture(scope="session")
def airflow_db(airflow_home: Path) -> Path:
    """The metadata database, with its tables; made once, by the first test that asks for it (some 2 s)."""
    from airflow.utils import db

    db.initdb()
    return airflow_home / "airflow.db"
