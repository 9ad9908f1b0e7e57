"""The button "Video" on a task."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from airflow_wan.operators.wan import WanGenerateVideoOperator, WanSubmitVideoOperator
from airflow_wan.sensors.wan import WanVideoSensor
from airflow_wan.videos import extra_link

if TYPE_CHECKING:
    from collections.abc import Callable

    from task_runner import TaskRunner


def key(map_index: int = -1) -> Any:
    return SimpleNamespace(
        dag_id="films", run_id="manual__2026-11-22T08:00:00+00:00", task_id="a.b", map_index=map_index
    )


@pytest.mark.parametrize("kind", [WanSubmitVideoOperator, WanGenerateVideoOperator, WanVideoSensor])
def test_each_operator_and_the_sensor_have_it(kind: Any) -> None:
    assert [link.name for link in kind.operator_extra_links] == ["Video"]


@pytest.mark.parametrize(
    ("base_url", "root"), [("", ""), ("https://airflow.example/team/", "https://airflow.example/team")]
)
def test_it_leads_to_the_page_of_the_video(base_url: str, root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extra_link, "HAS_PAGES", True)
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", base_url)

    link = extra_link.VideoLink().get_link(SimpleNamespace(), ti_key=key(3))  # type: ignore[arg-type]

    assert link == f"{root}/wan/video/films/manual__2026-11-22T08%3A00%3A00%2B00%3A00/a.b/3"


@pytest.mark.parametrize(
    ("path", "link"),
    [
        (None, "/dags/films/runs/manual__2026-11-22T08%3A00%3A00%2B00%3A00/tasks/a.b/mapped/0/xcom"),
        ("/data/clip.mp4", "/dags/films/runs/manual__2026-11-22T08%3A00%3A00%2B00%3A00/tasks/a.b/mapped/0/xcom"),
        ("gs://conn_id@films/a b/clip.mp4", "https://storage.cloud.google.com/films/a%20b/clip.mp4"),
    ],
)
def test_where_there_are_no_pages_it_leads_to_the_file_or_its_path(
    path: str | None, link: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extra_link, "HAS_PAGES", False)
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "")
    operator: Any = SimpleNamespace(_video=SimpleNamespace(facts={"path": path}) if path else None)

    assert extra_link.VideoLink().get_link(operator, ti_key=key(0)) == link


def test_it_knows_the_video_of_the_task_that_has_run(
    film: Callable[..., Any], gateway: Any, runner: TaskRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extra_link, "HAS_PAGES", False)
    task = film(deferrable=False)
    monkeypatch.setattr("copy.copy", lambda same: same)  # Airflow runs and then asks one object

    runner.run(task)

    assert task._video.facts["path"].endswith("film.mp4")
    (link,) = task.operator_extra_links
    assert link.get_link(task, ti_key=key()).endswith("/tasks/a.b/xcom")
