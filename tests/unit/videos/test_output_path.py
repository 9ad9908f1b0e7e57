"""The path or URI that a task's video gets."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_wan.videos.destination import Destination
from airflow_wan.videos.output_path import destination_for, warn_if_not_shared


def context(**instance: Any) -> Any:
    defaults = {"dag_id": "films", "run_id": "r1", "task_id": "animate", "map_index": -1}
    return {"ti": SimpleNamespace(**defaults | instance)}


@pytest.fixture(autouse=True)
def base(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("AIRFLOW__WAN__OUTPUT_BASE", "/srv/wan/")
    return "/srv/wan"


@pytest.mark.parametrize("nothing", [None, "", "None"])
def test_by_default_each_task_instance_has_its_own_path(nothing: Any) -> None:
    assert str(destination_for(nothing, context())) == "/srv/wan/films/r1/animate.mp4"
    assert str(destination_for(nothing, context(map_index=3))) == "/srv/wan/films/r1/animate/3.mp4"


def test_names_hold_only_safe_characters_and_stay_different() -> None:
    paths = {str(destination_for(None, context(run_id=run))) for run in ("a:b", "a+b", "a_b", "manual__2026+00:00")}

    assert len(paths) == 4
    assert all(set(path) <= set("/._-abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") for path in paths)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("/data/film.mp4", "/data/film.mp4"),
        ("film.mp4", "/srv/wan/film.mp4"),
        ("/data/", "/data/films/r1/animate.mp4"),
        ("s3://aws@bucket/film.mp4", "s3://aws@bucket/film.mp4"),
        ("s3://aws@bucket/films/", "s3://aws@bucket/films/films/r1/animate.mp4"),
        ("file:///data/film.mp4", "/data/film.mp4"),
    ],
)
def test_a_given_path_is_used_as_written(written: str, meant: str) -> None:
    assert str(destination_for(written, context())) == meant


def test_a_relative_path_can_be_relative_to_a_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__WAN__OUTPUT_BASE", "s3://aws@bucket/wan")

    assert str(destination_for("a/b.mp4", context())) == "s3://aws@bucket/wan/a/b.mp4"


@pytest.mark.parametrize(
    ("destination", "executor", "warned"),
    [
        ("/data/film.mp4", "CeleryExecutor", True),
        ("/data/film.mp4", "LocalExecutor,KubernetesExecutor", True),
        ("/data/film.mp4", "airflow.providers.edge3.executors.EdgeExecutor", True),
        ("/data/film.mp4", "LocalExecutor", False),
        ("s3://bucket/film.mp4", "CeleryExecutor", False),
    ],
)
def test_a_local_path_leads_to_a_warning_where_tasks_run_on_several_machines(
    destination: str, executor: str, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        warn_if_not_shared(Destination(destination), executor)

    assert ("another machine" in caplog.text) is warned
