"""The pages in Airflow's own app."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from airflow.providers.common.compat.version_compat import get_base_airflow_version_tuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fastapi.testclient import TestClient
    from page_server import PageServer

collect_ignore = [] if get_base_airflow_version_tuple() >= (3, 1) else ["test_permissions.py", "test_database.py"]


@pytest.fixture(scope="session")
def page_client(airflow_db: Path) -> Iterator[TestClient]:
    """Start Airflow's app with the pages; that takes seconds."""
    from page_server import serving

    with serving() as client:
        yield client


@pytest.fixture
def pages(page_client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PageServer]:
    """Return the pages with an empty database, whose videos are in a folder of the test."""
    from page_server import PageServer, forget_rows

    folder = tmp_path / "videos"
    folder.mkdir()
    monkeypatch.setenv("AIRFLOW__WAN__OUTPUT_BASE", str(folder))
    page_client.cookies.clear()
    forget_rows()
    yield PageServer(page_client, folder)
    forget_rows()
