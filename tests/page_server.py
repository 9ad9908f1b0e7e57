"""The pages in Airflow's own app, in this process: its database, and an auth manager with rights by DAG."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fastapi.testclient import TestClient

READABLE, FOREIGN = "films", "secret_films"
RUN = "manual__2026-11-22T08:00:00+00:00"
NOW = datetime(2026, 11, 22, 8, tzinfo=UTC)
MP4 = b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isomiso2" + Random(1).randbytes(10_000)
JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(100)


class ByDag(SimpleAuthManager):
    """Airflow's simple auth manager, in which ``viewer:<dag>`` may read that DAG only, and ``blind`` no XComs."""

    def is_authorized_dag(self, *, user: Any, details: Any = None, access_entity: Any = None, **known: Any) -> bool:
        _, _, only = user.username.partition(":")
        dag_id = details.id if details is not None else None
        if user.username == "blind" and access_entity is not None and access_entity.name == "XCOM":
            return False
        return (not only or dag_id in (None, only)) and super().is_authorized_dag(
            user=user, details=details, access_entity=access_entity, **known
        )


@dataclass
class PageServer:
    """Airflow's app with the pages, and what is in its database."""

    client: TestClient
    base: Path

    def get(self, path: str, user: str | None = "admin", method: str = "GET", **headers: str) -> Any:
        """Ask for a page as a user; None: nobody has logged in."""
        if user is not None:
            headers |= {"Authorization": f"Bearer {token_of(user)}"}
        return self.client.request(method, f"/wan/{path}", headers=headers, follow_redirects=False)

    def video(self, content: bytes = MP4, name: str = "clip.mp4") -> Path:
        """Put a file into the folder of videos."""
        path = self.base / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def leave(
        self,
        task_id: str,
        *,
        dag_id: str = READABLE,
        run_id: str = RUN,
        map_index: int = -1,
        state: str | None = "success",
        label: str | None = None,
        at: datetime = NOW,
        **xcoms: Any,
    ) -> str:
        """Put a task instance and its XComs into the database, and return its part of an address, as pages write it."""
        add_rows([(dag_id, run_id, task_id, map_index, state, label, at, xcoms)])
        return f"{dag_id}/{quote(run_id, safe=':+')}/{task_id}/{map_index}"


def token_of(user: str) -> str:
    """Return the token of a user whose role is the first word of the name."""
    from airflow.api_fastapi.app import get_auth_manager

    role = {"admin": "ADMIN"}.get(user.partition(":")[0], "VIEWER")
    return str(get_auth_manager().generate_jwt(SimpleAuthManagerUser(username=user, role=role)))


def add_rows(rows: list[tuple[Any, ...]]) -> None:
    """Put task instances and their XComs into the database; the DAGs and runs that they need, too."""
    from airflow.models.dag import DagModel
    from airflow.models.dagbundle import DagBundleModel
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        if session.get(DagBundleModel, "tests") is None:
            session.add(DagBundleModel(name="tests"))
            session.flush()
        for dag_id in {row[0] for row in rows} - set(session.scalars(select(DagModel.dag_id))):
            model = DagModel(dag_id=dag_id, bundle_name="tests", fileloc="/dags/x.py")
            model.timetable_type = "x"  # a column since Airflow 3.2
            session.add(model)
        session.flush()
        wanted = dict.fromkeys((row[0], row[1]) for row in rows)
        known = {
            (run.dag_id, run.run_id): run.id for run in session.execute(select(DagRun.dag_id, DagRun.run_id, DagRun.id))
        }
        new = [key for key in wanted if key not in known]
        first = max(known.values(), default=0) + 1
        if new:
            session.execute(
                DagRun.__table__.insert(),
                [
                    {
                        "id": first + number,
                        "dag_id": dag_id,
                        "run_id": run_id,
                        "run_type": "manual",
                        "run_after": NOW,
                        "state": "success",
                        "clear_number": 0,
                    }
                    for number, (dag_id, run_id) in enumerate(new)
                ],
            )
        known |= {key: first + number for number, key in enumerate(new)}
        of_map_index = "map_index" if "map_index" in TaskInstance.__table__.columns else "region_index"  # Airflow 3.4
        session.execute(
            TaskInstance.__table__.insert(),
            [
                {
                    "dag_id": dag_id,
                    "run_id": run_id,
                    "task_id": task_id,
                    of_map_index: map_index,
                    "state": state,
                    "rendered_map_index": label,
                    "try_number": 1,
                    "max_tries": 0,
                    "pool": "default_pool",
                    "pool_slots": 1,
                    "executor_config": {},
                }
                for dag_id, run_id, task_id, map_index, state, label, _, _ in rows
            ],
        )
        _add_xcoms(session, rows, known)


def _add_xcoms(session: Any, rows: list[tuple[Any, ...]], runs: dict[tuple[str, str], int]) -> None:
    from airflow.models import xcom
    from airflow.models.taskinstance import TaskInstance
    from sqlalchemy import select

    left = [
        (
            {"dag_id": dag_id, "run_id": run_id, "task_id": task_id, "map_index": map_index},
            {"key": key, "value": value, "timestamp": at},
        )
        for dag_id, run_id, task_id, map_index, _, _, at, xcoms in rows
        for key, value in xcoms.items()
    ]
    if not left:
        return
    if hasattr(xcom, "XComModelV2"):  # Airflow 3.4 keeps them by the try of the task instance
        names = (TaskInstance.dag_id, TaskInstance.run_id, TaskInstance.task_id, TaskInstance.map_index)
        ids = {tuple(names): its_id for its_id, *names in session.execute(select(TaskInstance.id, *names))}
        values = [{"task_instance_id": ids[tuple(names.values())], **fields} for names, fields in left]
        session.execute(xcom.XComModelV2.__table__.insert(), values)
    else:
        values = [{"dag_run_id": runs[names["dag_id"], names["run_id"]], **names, **fields} for names, fields in left]
        session.execute(xcom.XComModel.__table__.insert(), values)


def video_of(path: object, content: bytes = MP4, **facts: Any) -> dict[str, Any]:
    """Return what a task leaves as ``wan_video``."""
    return {
        "path": str(path),
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "duration_s": 5.0,
        "width": 1280,
        "height": 720,
        "has_audio": True,
        "c2pa": False,
        "aigc_label": False,
        "wan_task_id": "0f6c2b1e",
        "request_id": "req-1",
        "model": "wan2.7-i2v",
        "seed": 7,
        "usage": {},
        "spent_usd": 0.5,
        "video_cost_usd": 0.5,
        "cost_is_estimate": True,
        "estimated_cost_usd": 0.5,
        "settled_cost_usd": None,
        "poster": None,
        "poster_sha256": None,
        "reused": False,
    } | facts


def status_of(state: str = "done", **facts: Any) -> dict[str, Any]:
    """Return what a task leaves as ``wan_status``."""
    return {
        "state": state,
        "operator": "WanImageToVideoOperator",
        "model": "wan2.7-i2v",
        "prompt": "The clouds drift.",
        "request": {
            "model": "wan2.7-i2v",
            "input": {"prompt": "The clouds drift.", "media": [{"type": "first_frame", "url": "/data/frame.png"}]},
            "parameters": {"resolution": "720P", "duration": 5},
        },
        "sources": [{"role": "first_frame", "url": "/data/frame.png", "digest": f"sha256:{'0' * 64}"}],
        "seconds": 5.0,
        "resolution": "720P",
        "estimated_usd": 0.5,
        "gateway": "dashscope",
        "base_url": "https://dashscope.aliyuncs.com",
        "wan_task_id": "0f6c2b1e",
        "request_id": "req-1",
        "times": {
            "submitted": NOW.isoformat(),
            "seen_running": (NOW + timedelta(seconds=20)).isoformat(),
            "seen_succeeded": (NOW + timedelta(seconds=90)).isoformat(),
            "downloaded": (NOW + timedelta(seconds=95)).isoformat(),
            "published": (NOW + timedelta(seconds=96)).isoformat(),
        },
    } | facts


def failure_of(**facts: Any) -> dict[str, Any]:
    """Return what a failed task leaves of its error."""
    return {
        "kind": "VideoTaskFailed",
        "message": "Input data may contain inappropriate content.",
        "advice": "Change the prompt.",
        "billed": False,
        "code": "DataInspectionFailed",
        "request_id": "req-9",
        "http_status": None,
        "kept_at": None,
        "kept_sha256": None,
    } | facts


@contextmanager
def serving() -> Iterator[TestClient]:
    """Start Airflow's app with the pages."""
    from airflow.api_fastapi import app as airflow_app
    from fastapi.testclient import TestClient

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW__CORE__AUTH_MANAGER", f"{ByDag.__module__}.{ByDag.__qualname__}")
        patch.setenv(
            "AIRFLOW__API_AUTH__JWT_SECRET",
            "a-secret-of-the-tests-that-is-as-long-as-it-has-to-be-0123456789-0123456789",
        )
        airflow_app.purge_cached_app()
        with TestClient(airflow_app.create_app(apps="core"), raise_server_exceptions=False) as client:
            yield client
        airflow_app.purge_cached_app()


def forget_rows() -> None:
    """Empty the database of DAGs and their runs."""
    from airflow.models import xcom
    from airflow.models.dag import DagModel
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session

    xcoms = [getattr(xcom, name) for name in ("XComModelV1", "XComModelV2") if hasattr(xcom, name)] or [xcom.XComModel]
    with create_session() as session:
        for model in (*xcoms, TaskInstance, DagRun, DagModel):
            session.execute(model.__table__.delete())
