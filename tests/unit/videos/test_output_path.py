"""The path or URI that a task's video gets."""

from __future__ import annotations

import logging
import os
import re
import shutil
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_wan.exceptions import DestinationError, InvalidVideoRequest, LedgerUnreadable
from airflow_wan.purchases.reservation_store import open_store
from airflow_wan.videos.before_buying import check_names
from airflow_wan.videos.destination import Destination
from airflow_wan.videos.output_path import destination_for, warn_if_not_shared, why_not_kept


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
        ("file:/data/film.mp4", "/data/film.mp4"),
        ("FILE://localhost/data/a%20b%23c.mp4", "/data/a b#c.mp4"),
        ("file://LOCALHOST/data/", "/data/films/r1/animate.mp4"),
        ("S3://aws@bucket/Film.mp4", "s3://aws@bucket/Film.mp4"),
        ("s3://aws@bucket/", "s3://aws@bucket/films/r1/animate.mp4"),
        ("/data/s3://film.mp4", "/data/s3:/film.mp4"),
        ("a/b://film.mp4", "/srv/wan/a/b:/film.mp4"),
        ("C:film.mp4", "/srv/wan/C:film.mp4"),
        ("12:30.mp4", "/srv/wan/12:30.mp4"),
        ("take:1.mp4", "/srv/wan/take:1.mp4"),
        (Path("/data/film.mp4"), "/data/film.mp4"),
        (Path("film.mp4"), "/srv/wan/film.mp4"),
        (42, "/srv/wan/42"),
        (1.5, "/srv/wan/1.5"),
    ],
)
def test_a_given_path_is_used_as_written(written: Any, meant: str) -> None:
    assert str(destination_for(written, context())) == meant


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("s3://aws@bucket", "a bucket without a key"),
        ("s3://bucket", "a bucket without a key"),
        ("S3://bucket//", None),
        ("s3:///film.mp4", "names no bucket"),
        ("s3://aws@/film.mp4", "names no bucket"),
        ("s3:/bucket/film.mp4", "a URI begins with s3://"),
        (Path("s3://bucket/film.mp4"), "a URI begins with s3://"),
        ("s3:bucket/film.mp4", "a URI begins with s3://"),
        ("s3 ://bucket/film.mp4", "a URI begins like s3://"),
        ("s3\uff1a//bucket/film.mp4", "a URI begins like s3://"),
        ("arn:aws:s3:::bucket/film.mp4", "a URI begins like s3://"),
        ("GS:/bucket/film.mp4", "a URI begins with gs://"),
        ("nosuch:/bucket/film.mp4", "a URI begins with nosuch://"),
        ("https://bucket.example/film.mp4", "cannot be written to"),
        ("HTTP://bucket.example/film.mp4", "cannot be written to"),
        ("data:video/mp4,film", "cannot be written to"),
        ("file://videos/film.mp4", "three slashes"),
        ("file://", "three slashes"),
        ("file:film.mp4", "three slashes"),
        ("/data/.", "the name of a file"),
        ("/data/clips/..", "the name of a file"),
        ("file:///data/%2e", "the name of a file"),
        (".", "the name of a file"),
        ("file:///data/a%00b.mp4", "control character"),
        ("file:///data/" + "x%20" * 130, "more than 246 bytes"),
        (True, "is no path"),
        (["film.mp4"], "is no path"),
        ({"path": "film.mp4"}, "is no path"),
        (b"film.mp4", "is no path"),
    ],
)
def test_what_can_never_be_a_place_is_refused(written: Any, problem: str | None) -> None:
    if problem is None:
        destination_for(written, context())
        return
    with pytest.raises(InvalidVideoRequest, match=problem) as refused:
        destination_for(written, context())
    assert "output_path" in str(refused.value)


@pytest.mark.parametrize("base", ["s3://", "s3:/bucket", "https://cdn.example", "file://videos"])
def test_an_output_base_that_can_never_be_a_place_is_refused(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__WAN__OUTPUT_BASE", base)

    with pytest.raises(InvalidVideoRequest, match="output_base"):
        destination_for(None, context())


def test_a_relative_path_is_not_decoded_because_its_base_is_a_file_uri(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__WAN__OUTPUT_BASE", "file:///srv/w%61n")

    assert str(destination_for("50%25.mp4", context())) == "/srv/wan/50%25.mp4"


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


CELERY = "airflow.providers.celery.executors.celery_executor.CeleryExecutor"


@pytest.mark.parametrize(
    ("destination", "executors", "warned"),
    [
        ("/data/film.mp4", "CeleryExecutor", True),
        ("/data/film.mp4", "LocalExecutor,KubernetesExecutor", True),
        ("/data/film.mp4", "airflow.providers.edge3.executors.EdgeExecutor", True),
        ("/data/film.mp4", "LocalExecutor", False),
        ("s3://bucket/film.mp4", "CeleryExecutor", False),
    ],
)
def test_a_local_path_leads_to_a_warning_where_tasks_run_on_several_machines(
    destination: str, executors: str, warned: bool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", executors)
    with caplog.at_level(logging.WARNING):
        warn_if_not_shared(Destination(destination), executor=None)
    assert ("another machine" in caplog.text) is warned

    caplog.clear()
    monkeypatch.setenv("AIRFLOW__WAN__LOCAL_PATHS_ARE_SHARED", "True")
    warn_if_not_shared(Destination(destination), executor=None)
    assert not caplog.text


@pytest.mark.parametrize(
    ("executors", "of_the_task", "is_refused"),
    [
        ("CeleryExecutor", None, True),
        ("KubernetesExecutor", None, True),
        (f"far:{CELERY}", None, True),
        (CELERY, None, True),
        ("CeleryExecutor;team=LocalExecutor", None, True),
        ("LocalExecutor", None, False),
        ("LocalExecutor,CeleryExecutor", None, False),  # the next task runs here too, unless it says otherwise
        ("LocalExecutor,CeleryExecutor", "CeleryExecutor", True),
        (f"LocalExecutor,far:{CELERY}", "far", True),
        ("CeleryExecutor,LocalExecutor", "LocalExecutor", False),
    ],
)
@pytest.mark.parametrize("output_path", [None, "film.mp4", "clips/"])
def test_no_video_is_bought_for_a_folder_that_nobody_chose_on_one_of_several_machines(
    executors: str, of_the_task: str | None, is_refused: bool, output_path: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__WAN__OUTPUT_BASE", "")
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", executors)

    assert bool(why_not_kept(output_path, of_the_task)) is is_refused

    for chosen in ("/data/film.mp4", "s3://bucket/film.mp4", "file:///data/film.mp4"):
        assert why_not_kept(chosen, of_the_task) is None
    with monkeypatch.context() as chosen_base:
        chosen_base.setenv("AIRFLOW__WAN__OUTPUT_BASE", "/nfs/wan")
        assert why_not_kept(output_path, of_the_task) is None
    monkeypatch.setenv("AIRFLOW__WAN__LOCAL_PATHS_ARE_SHARED", "True")
    assert why_not_kept(output_path, of_the_task) is None


def test_within_a_pod_of_kubernetes_the_configured_executor_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__WAN__OUTPUT_BASE", "")
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "LocalExecutor")
    monkeypatch.setenv("AIRFLOW_IS_K8S_EXECUTOR_POD", "True")

    assert "KubernetesExecutor" in str(why_not_kept(None, None))


# A destination that is accepted can be published to ------------------------------------------------------------------


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> MemoryFileSystem:
    """What Airflow reaches as s3://bucket and memory://bucket."""
    from airflow.sdk.io import attach, store

    monkeypatch.setattr(store, "_STORE_CACHE", {})
    monkeypatch.setattr(MemoryFileSystem, "store", {})
    monkeypatch.setattr(MemoryFileSystem, "pseudo_dirs", [""])
    files = MemoryFileSystem()
    files.mkdir("/bucket")
    for scheme in ("memory", "s3"):
        attach(scheme, alias=scheme, fs=files)
    return files


BEGINNINGS = [
    "clip",
    "{here}/",
    "file://{here}/",
    "file:{here}/",
    "FILE://localhost{here}/",
    "file://x/",
    "~no-such-user/",
    "./",
]
BEGINNINGS += [
    "s3://bucket/",
    "S3://bucket",
    "s3://",
    "s3:/bucket/",
    "s3://me@bucket/",
    "s3://none/",
    "memory://bucket/",
]
BEGINNINGS += ["nosuch://bucket/", "https://127.0.0.1:9/", "local://{here}/", "zip://bucket/", "github://a:b@c/"]
PIECES = ["a", "clip", ".mp4", ".MP4", ".jpg", ".json", ".rejected", "/", "//", "..", ".", "%2e", "%00", "\0", "\n"]
PIECES += [" ", "?", "#", "@", ":", "://", "x" * 100, "x" * 246, "字" * 41, "😀", "\ud83d", "[1]", "{", "~"]
PIECES += ["deep/" * 100]


@given(beginning=st.sampled_from(BEGINNINGS), pieces=st.lists(st.sampled_from(PIECES), max_size=6))
@example(beginning="{here}/", pieces=["deep/" * 100] * 8)
@example(beginning="{here}/", pieces=["x" * 246, "/", "x" * 246])
@example(beginning="s3://bucket", pieces=[])
@example(beginning="memory://bucket/", pieces=["?"])
@example(beginning="memory://bucket/clip", pieces=[".mp4", "#"])
def test_every_destination_that_is_accepted_can_be_published_to(
    beginning: str, pieces: list[str], bucket: MemoryFileSystem, tmp_path: Path
) -> None:
    os.environ["AIRFLOW__WAN__OUTPUT_BASE"] = str(tmp_path)
    written = beginning.format(here=tmp_path) + "".join(pieces)
    try:
        destination = destination_for(written, context())
        if destination.local_path and not Path(os.path.normpath(destination.local_path)).is_relative_to(tmp_path):
            return  # an absolute path may lead anywhere, but not in this test
        destination.prepare()
        check_names(destination, sidecar=True, poster=True)
    except (InvalidVideoRequest, DestinationError):
        return
    beside = destination.beside("x" * 500)
    for place in (destination, destination.sidecar, destination.poster, destination.rejected, beside.rejected):
        with place.staging() as staged:
            staged.write_bytes(b"film")
            assert replace(place, may_replace=lambda: False).publish(staged)
        assert place.read(100) == b"film"
    if destination.local_path is None:
        bucket.store.clear()
        bucket.pseudo_dirs[:] = ["", "/bucket"]
    else:
        for path in tmp_path.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.mark.parametrize(
    ("uri", "module", "extra"), [("gs://bucket/x.mp4", "google", "gcs"), ("abfs://bucket/x.mp4", "microsoft", "azure")]
)
def test_a_store_whose_package_is_not_installed_is_refused_with_the_name_of_the_extra(
    airflow_db: Path, uri: str, module: str, extra: str
) -> None:
    if find_spec(f"airflow.providers.{module}"):
        pytest.skip("its package is installed")

    with pytest.raises(DestinationError, match=rf"the workers need the package airflow-provider-wan\[{extra}\]"):
        Destination(uri).prepare()
    with pytest.raises(LedgerUnreadable, match=rf"the workers need the package airflow-provider-wan\[{extra}\]"):
        open_store(uri.removesuffix("/x.mp4"), "2026-11")
