"""The path or URI that a task's video gets."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_wan.exceptions import InvalidVideoRequest
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


@pytest.mark.parametrize(
    "path",
    [
        "../x.mp4",
        "../../x.mp4",
        "a/../../x.mp4",
        "a/..",
        "..",
        "../",
        "./../x.mp4",
        " ../x.mp4",
        "..\\..\\x.mp4",
        "a\\..\\..\\x.mp4",
        "%2e%2e/x.mp4",
        "%2E./x.mp4",
        "..%2fx.mp4",
        "%252e%252e/x.mp4",
        "..%5cx.mp4",
        "~nobody-here/../../x.mp4",
        "s3://bucket/../other/x.mp4",
        "s3://bucket/a/%2e%2e/x.mp4",
        "gs://me@bucket/a/..",
    ],
)
@pytest.mark.parametrize("base", ["/srv/wan", "s3://aws@bucket/wan", "file:///srv/wan"])
def test_no_relative_path_leaves_the_base_and_no_key_another_key(
    path: str, base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__WAN__OUTPUT_BASE", base)

    with pytest.raises(InvalidVideoRequest, match=r"must not have '\.\.' in it.*Nothing was sent"):
        destination_for(path, context())


@pytest.mark.parametrize("path", ["..x.mp4", "a..b/x.mp4", "x...mp4", "/data/../x.mp4", "...", "s3://bucket/..a/x.mp4"])
def test_dots_that_lead_nowhere_are_part_of_a_name(path: str) -> None:
    assert str(destination_for(path, context())).endswith(path)


@given(path=st.text(st.sampled_from("./\\%2e5cEa~"), min_size=1, max_size=24))
def test_whatever_a_template_makes_of_a_relative_path_stays_in_the_base(path: str, tmp_path: Path) -> None:
    os.environ["AIRFLOW__WAN__OUTPUT_BASE"] = str(tmp_path)
    try:
        destination = destination_for(f"a{path}", context())
    except InvalidVideoRequest:
        return
    assert Path(os.path.normpath(str(destination.local_path))).is_relative_to(tmp_path)


@pytest.mark.parametrize("part", ["\0", "\n", "\x1b[2J", "\x7f", "\x85", "\ud83d"])
@pytest.mark.parametrize("path", ["a{}b.mp4", "/data/{}/b.mp4", "s3://bucket/{}.mp4", "file:///data/{}.mp4"])
def test_a_path_with_a_character_that_no_file_should_have_is_refused(path: str, part: str) -> None:
    with pytest.raises(InvalidVideoRequest, match="control character or half a character") as refused:
        destination_for(path.format(part), context())

    str(refused.value).encode()
    assert part not in str(refused.value)


@pytest.mark.parametrize(
    ("path", "is_long"),
    [
        ("x" * 246, False),
        ("x" * 247, True),
        ("字" * 82, False),
        ("字" * 83, True),
        ("/data/" + "x" * 300 + "/clip.mp4", True),
        ("s3://bucket/" + "x" * 1015, False),
        ("s3://bucket/" + "x" * 1016, True),
        ("s3://bucket/" + "x" * 300 + "/clip.mp4", False),
    ],
)
def test_a_name_that_leaves_no_room_for_the_files_beside_the_video_is_refused(path: str, is_long: bool) -> None:
    if not is_long:
        destination_for(path, context())
        return
    with pytest.raises(InvalidVideoRequest, match=r"more than \d+ bytes"):
        destination_for(path, context())


@pytest.mark.parametrize("name", ["..", ".", "a/../../b", "a\0b", "\ud83d", "%2e%2e", "字" * 300, "-rf", "a\nb"])
def test_no_id_of_airflow_leads_out_of_the_base(name: str) -> None:
    made = str(destination_for(None, context(dag_id=name, run_id=name, task_id=name)))

    assert os.path.normpath(made) == made
    assert re.fullmatch(r"/srv/wan/[\w.-]+/[\w.-]+/[\w.-]+\.mp4", made, re.ASCII)
    assert max(len(part) for part in made.split("/")) <= 246


@pytest.mark.parametrize("wan_task_id", ["../../x", "a/b", "..", "a\0b", "\ud83d", "x" * 100_000, "字" * 300])
@pytest.mark.parametrize("path", ["/v/clip.mp4", "/v/" + "字" * 80 + ".mp4", "s3://me@b/k/clip", "clip.mp4"])
def test_no_id_of_a_gateway_leads_out_of_the_folder(path: str, wan_task_id: str) -> None:
    beside = Destination(path).beside(wan_task_id)

    assert beside.uri.rpartition("/")[0] == path.rpartition("/")[0]
    assert len(beside.rejected.sidecar.uri.rpartition("/")[2].encode()) <= 255
    assert Destination(path).beside(wan_task_id + "x") != beside


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
