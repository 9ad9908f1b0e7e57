"""What all tests share: an Airflow home for each test process, and the profiles of hypothesis."""

from __future__ import annotations

import importlib
import logging
import os
import pkgutil
import shutil
import signal
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
    """Return the environment without the developer's Airflow settings, and with a home for these tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW_", "AIRFLOW__", "WAN_"))}
    return kept | {
        "AIRFLOW_HOME": str(_HOME),
        "AIRFLOW__CORE__DAGS_FOLDER": str(REPOSITORY / "example_dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{_HOME}/airflow.db",
        # Seconds between two polls of the emulator, whose tasks take less than a second.
        "AIRFLOW__WAN__POLL_INTERVAL": "0.2",
        # No test waits for its turn, unless it is about turns.
        "AIRFLOW__WAN__CREATES_PER_SECOND": "0",
    }


# This runs before the first test module imports airflow, which reads the environment once. Each pytest-xdist worker
# has its own.
_ENVIRONMENT = _own_environment()
os.environ.clear()
os.environ.update(_ENVIRONMENT)

# A shell script starts what it does not wait for without Ctrl-C, and each process hands that on to those it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A developer who waits for the result gets few examples; CI gets many. There is no deadline: the machine may be busy.
_NO_TIME_LIMITS = {"deadline": None, "suppress_health_check": list(hypothesis.HealthCheck)}
hypothesis.settings.register_profile("dev", max_examples=25, **_NO_TIME_LIMITS)
hypothesis.settings.register_profile("ci", max_examples=100, print_blob=True, **_NO_TIME_LIMITS)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "dev")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of a file on one pytest-xdist worker, and all whole DAG runs: the first one costs 9 s of CPU."""
    for item in items:
        group = "dags" if item.path.parent.name == "dags" else str(item.path)
        item.add_marker(pytest.mark.xdist_group(group))


def pytest_unconfigure() -> None:
    """Remove the Airflow home."""
    # Libraries that log at the end of the process find their stream closed; logging must not report that.
    logging.raiseExceptions = False
    shutil.rmtree(_HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def airflow_home() -> Path:
    """Return the AIRFLOW_HOME of the tests."""
    return _HOME


@pytest.fixture
def wan_emulator_settings(request: pytest.FixtureRequest) -> Settings:
    """Return settings with which a video is finished at the first poll, unless a marker of the test says otherwise."""
    from airflow_wan.emulator.testing import AT_ONCE, FAST

    if request.node.get_closest_marker("stays_queued"):
        return replace(FAST, pending_s=3600.0)
    if request.node.get_closest_marker("stays_running"):
        return replace(FAST, pending_s=0, running_s=3600.0)
    if request.node.get_closest_marker("takes_time"):
        request.getfixturevalue("loaded_package")
        return FAST
    return AT_ONCE


@pytest.fixture(scope="session")
def loaded_package() -> None:
    """Load the modules of a task, so that a video of 0.6 s is not finished before a process has read its first one."""
    from airflow.sdk.execution_time import context

    import airflow_wan

    # The task state store came with Airflow 3.3.
    foreign = set() if hasattr(context, "NEVER_EXPIRE") else {"task_state_ledger"}
    for package in ("hooks", "media", "operators", "purchases", "sensors", "triggers", "videos", "waiting"):
        for module in pkgutil.iter_modules([f"{airflow_wan.__path__[0]}/{package}"]):
            if module.name not in foreign:
                importlib.import_module(f"airflow_wan.{package}.{module.name}")


@pytest.fixture(scope="session")
def airflow_db(airflow_home: Path) -> Path:
    """Return the metadata database with its tables; the first test that asks for it makes them (about 2 s)."""
    from airflow.utils import db

    db.initdb()
    return airflow_home / "airflow.db"
