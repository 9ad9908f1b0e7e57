"""What a task would write may be somebody's file: it is not replaced, and nothing is bought that could not stay."""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from PIL import Image
from task_runner import TaskRunner, out_of_time

from airflow_wan.exceptions import DestinationError
from airflow_wan.operators.wan import WanEditVideoOperator
from airflow_wan.sensors.wan import WanVideoSensor

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BESIDE = {"film.mp4": {}, "film.mp4.json": {}, "film.jpg": {"poster": True}}
"""What may be somebody's, and what the task has to want for it."""


@pytest.fixture
def gateway(connect_to: Callable[[str], Any]) -> Any:
    return connect_to("dashscope")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """The author's own photo, where a poster of ``mug.mp4`` would be."""
    path = tmp_path / "photos" / "mug.jpg"
    path.parent.mkdir()
    Image.linear_gradient("L").resize((320, 320)).convert("RGB").save(path)
    return path


def refuse(runner: TaskRunner, task: Any, gateway: Any, sentence: str) -> None:
    bought = len(gateway.emulator.ledger())
    with pytest.raises(Exception, match=sentence):
        runner.run(task)
    assert len(gateway.emulator.ledger()) == bought
    assert not runner.store.rows


# Sources -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("{folder}/mug.jpg", "{folder}/mug.mp4"),
        ("file://{folder}/mug.jpg", "{folder}/mug.mp4"),
        ("file://localhost{folder}/mug.jpg", "file:{folder}/mug.mp4"),
        ("{folder}/mug.jpg", "file://localhost{folder}/m%75g.mp4"),
        ("{folder}//mug.jpg", "{folder}/../photos/mug.mp4"),
        ("{folder}/mug.jpg", "photos/mug.mp4"),
        ("{folder}/mug.jpg", "/{folder}/./mug.MP4"),
        ("{folder}/link.jpg", "{folder}/mug.mp4"),
        ("{folder}/hard.jpg", "{folder}/mug.mp4"),
        ("{folder}/mug.jpg", "{base}/linked/mug.mp4"),
    ],
)
def test_a_poster_never_goes_over_the_photo_it_was_made_from(
    source: str, target: str, film: Callable[..., Any], gateway: Any, runner: Any, photo: Path, monkeypatch: Any
) -> None:
    folder, base, content = photo.parent, photo.parent.parent, photo.read_bytes()
    monkeypatch.setenv("AIRFLOW__WAN__OUTPUT_BASE", str(base))
    (folder / "link.jpg").symlink_to(photo)
    (folder / "hard.jpg").hardlink_to(photo)
    (base / "linked").symlink_to(folder)
    places = {"folder": folder, "base": base}
    task = film(first_frame=source.format(**places), output_path=target.format(**places), poster=True)

    refuse(runner, task, gateway, "which is a source of this request")

    assert photo.read_bytes() == content


@pytest.mark.parametrize("name", ["clip.mp4", "clip.rejected.mp4", "clip.mp4.json"])
def test_no_video_goes_over_the_one_it_was_made_from(name: str, gateway: Any, runner: Any, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"precious")
    task = WanEditVideoOperator(
        task_id="edit", prompt="Snow.", video=str(tmp_path / name), output_path=str(tmp_path / "clip.mp4")
    )

    refuse(runner, task, gateway, "which is a source of this request")

    assert (tmp_path / name).read_bytes() == b"precious"


def test_a_photo_in_the_same_folder_is_no_reason_to_refuse(
    film: Callable[..., Any], gateway: Any, runner: Any, photo: Path
) -> None:
    content = photo.read_bytes()

    runner.run(film(first_frame=str(photo), output_path=str(photo.with_suffix(".mp4"))))

    assert photo.read_bytes() == content


# Files that are there before the purchase ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", BESIDE)
@pytest.mark.parametrize("reuse", [True, False])
def test_a_file_that_nobody_knows_stays_and_nothing_is_bought(
    name: str, reuse: bool, film: Callable[..., Any], gateway: Any, runner: Any, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(b"precious")

    refuse(runner, film(reuse=reuse, **BESIDE[name]), gateway, f"{name} is a file.*Nothing was sent")

    assert (tmp_path / name).read_bytes() == b"precious"


@pytest.mark.parametrize("name", ["film.mp4.json", "film.jpg"])
def test_a_file_at_a_place_that_is_not_wanted_is_no_matter(
    name: str, film: Callable[..., Any], gateway: Any, runner: Any, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(b"precious")

    runner.run(film(sidecar=False))

    assert (tmp_path / name).read_bytes() == b"precious"


def test_a_video_of_nobody_stays_where_no_record_is_wanted(
    film: Callable[..., Any], gateway: Any, runner: Any, tmp_path: Path
) -> None:
    (tmp_path / "film.mp4").write_bytes(b"precious")

    refuse(runner, film(sidecar=False), gateway, "not known to have made")

    assert (tmp_path / "film.mp4").read_bytes() == b"precious"


@pytest.mark.parametrize("name", ["film.mp4", "film.mp4.json", "film.jpg", "film.rejected.mp4"])
@pytest.mark.parametrize("kind", ["folder", "pipe", "device", "link to a device"])
def test_what_is_no_regular_file_stays_and_nothing_is_bought(
    name: str, kind: str, film: Callable[..., Any], gateway: Any, runner: Any, tmp_path: Path
) -> None:
    path = tmp_path / name
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        if os.geteuid() != 0:
            pytest.skip("only root makes devices")
        os.mknod(path, 0o20600, os.makedev(1, 3))
    else:
        path.symlink_to("/dev/null")
    before = path.lstat()

    refuse(runner, film(poster=True), gateway, "no regular file")

    assert (path.lstat().st_mode, path.lstat().st_ino) == (before.st_mode, before.st_ino)


@pytest.mark.parametrize("taken", ["a folder at the path", "a file for a folder"])
def test_a_local_path_that_can_never_work_is_not_tried_again(
    taken: str, film: Callable[..., Any], gateway: Any, runner: Any, tmp_path: Path
) -> None:
    in_the_way = tmp_path / "taken"
    in_the_way.mkdir() if taken == "a folder at the path" else in_the_way.touch()
    path = in_the_way if in_the_way.is_dir() else in_the_way / "film.mp4"

    with pytest.raises(AirflowFailException) as raised:
        runner.run(film(output_path=str(path)))

    assert isinstance(raised.value, DestinationError)
    assert gateway.emulator.requests() == []


def test_such_a_path_is_tried_again_for_what_is_bought_already(
    film: Callable[..., Any], gateway: Any, runner: Any, tmp_path: Path
) -> None:
    with out_of_time(gateway.emulator):
        runner.run(film(timeout=0.01))
    (tmp_path / "film.mp4").mkdir()

    with pytest.raises(DestinationError) as raised:
        runner.run(film())

    assert not isinstance(raised.value, AirflowFailException)
    assert raised.value.wan_task_id == gateway.emulator.ledger()[0]["task_id"]


# Files that come while the video is made -----------------------------------------------------------------------------


@pytest.mark.takes_time
@pytest.mark.parametrize("name", BESIDE)
def test_a_file_that_comes_while_the_video_is_made_stays(
    name: str, film: Callable[..., Any], gateway: Any, runner: Any, tmp_path: Path
) -> None:
    fire = runner._fire
    runner._fire = lambda trigger: ((tmp_path / name).write_bytes(b"precious"), fire(trigger))[1]

    if name == "film.mp4":
        with pytest.raises(AirflowFailException, match="stays there"):
            runner.run(film())
    else:
        runner.run(film(poster=True))
        video = runner.instance.xcoms["wan_video"]
        assert hashlib.sha256((tmp_path / "film.mp4").read_bytes()).hexdigest() == video["sha256"]
        assert (video["poster"] is None) is (name == "film.jpg")

    assert (tmp_path / name).read_bytes() == b"precious"
    assert len(gateway.emulator.ledger()) == 1


def test_a_sensor_keeps_its_video_beside_a_file_that_nobody_knows(
    film: Callable[..., Any], gateway: Any, runner: Any, tmp_path: Path
) -> None:
    runner.run(film())
    (tmp_path / "latest.mp4").write_bytes(b"precious")
    bought = gateway.emulator.ledger()[0]["task_id"]
    for name in (f"latest.{bought}.mp4", f"latest.{bought}.mp4.json"):
        (tmp_path / name).write_bytes(b"precious too")
    sensor = WanVideoSensor(
        task_id="wait", wan_task_id=bought, output_path=str(tmp_path / "latest.mp4"), poke_interval=0.05
    )

    with pytest.raises(AirflowFailException, match="stays there") as failed:
        runner.run(sensor)

    assert (tmp_path / "latest.mp4").read_bytes() == b"precious"
    assert (tmp_path / f"latest.{bought}.mp4").read_bytes() == b"precious too"
    kept = [path for path in tmp_path.glob("latest.*-*.mp4") if str(path) in str(failed.value)]
    assert kept[0].read_bytes() == (tmp_path / "film.mp4").read_bytes()


# Files of our own ----------------------------------------------------------------------------------------------------


def next_run(runner: TaskRunner, run_id: str) -> TaskRunner:
    made = TaskRunner()
    made.instance.run_id, made.instance.all_xcoms = run_id, runner.instance.all_xcoms
    return made


@pytest.mark.parametrize("sidecar", [True, False])
def test_the_next_run_replaces_video_and_poster_of_the_last(
    sidecar: bool, film: Callable[..., Any], gateway: Any, runner: Any, tmp_path: Path
) -> None:
    runner.run(film(poster=True, sidecar=sidecar))
    first = runner.instance.xcoms["wan_video"]
    second = next_run(runner, "tuesday")

    second.run(film(poster=True, sidecar=sidecar, prompt="Snow falls.", duration=3))

    video = second.instance.xcoms["wan_video"]
    assert video["sha256"] != first["sha256"]
    for name, digest in (("film.mp4", video["sha256"]), ("film.jpg", video["poster_sha256"])):
        assert hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() == digest
    assert (tmp_path / "film.mp4.json").exists() is sidecar


@pytest.mark.parametrize("name", ["film.mp4", "film.jpg"])
@pytest.mark.parametrize("sidecar", [True, False])
def test_the_next_run_does_not_replace_what_somebody_made_of_them(
    name: str, sidecar: bool, film: Callable[..., Any], gateway: Any, runner: Any, tmp_path: Path
) -> None:
    runner.run(film(poster=True, sidecar=sidecar))
    (tmp_path / name).write_bytes(b"a better one")

    refuse(
        next_run(runner, "tuesday"), film(poster=True, sidecar=sidecar, prompt="Snow."), gateway, f"{name} is a file"
    )

    assert (tmp_path / name).read_bytes() == b"a better one"


def test_record_and_poster_always_tell_of_the_video_that_is_there(
    film: Callable[..., Any], gateway: Any, runner: Any, tmp_path: Path
) -> None:
    runner.run(film(poster=True))
    picture = (tmp_path / "film.jpg").read_bytes()

    next_run(runner, "tuesday").run(film(prompt="Snow falls.", duration=3, sidecar=False))

    record = json.loads((tmp_path / "film.mp4.json").read_text())
    for name, part in (("film.mp4", "video"), ("film.jpg", "poster")):
        assert record[part]["sha256"] == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
    assert (tmp_path / "film.jpg").read_bytes() != picture or record["poster"]["bytes"] == len(picture)


@pytest.mark.parametrize("damage", ["cut", "replaced", "gone"])
def test_a_poster_that_is_not_the_recorded_one_is_not_handed_on(
    damage: str, film: Callable[..., Any], gateway: Any, runner: Any, tmp_path: Path
) -> None:
    runner.run(film(poster=True))
    picture = tmp_path / "film.jpg"
    content = {"cut": picture.read_bytes()[:100], "replaced": b"a photo", "gone": None}[damage]
    picture.unlink()
    if content is not None:
        picture.write_bytes(content)

    runner.run(film(poster=True))

    video = runner.instance.xcoms["wan_video"]
    assert video["reused"]
    assert len(gateway.emulator.ledger()) == 1
    if content is None:
        assert video["poster"] == str(picture)
        assert hashlib.sha256(picture.read_bytes()).hexdigest() == video["poster_sha256"]
    else:
        assert video["poster"] is None
        assert picture.read_bytes() == content


# Machines that do not share their disks ------------------------------------------------------------------------------


@pytest.fixture
def on_several_machines(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "home"))


@pytest.mark.usefixtures("on_several_machines")
def test_no_video_is_bought_for_a_folder_of_one_machine(
    film: Callable[..., Any], gateway: Any, runner: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(runner, film(output_path=None), gateway, r"\[wan\] local_paths_are_shared = True\. Nothing was sent")

    runner.run(film())
    monkeypatch.setenv("AIRFLOW__WAN__LOCAL_PATHS_ARE_SHARED", "True")
    path = runner.run(film(output_path=None))

    assert path.startswith(str(tmp_path / "home" / "wan_videos"))
    assert len(gateway.emulator.ledger()) == 2


def test_what_is_bought_already_is_brought_home_to_a_folder_of_one_machine(
    film: Callable[..., Any], gateway: Any, runner: Any, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    with out_of_time(gateway.emulator):
        runner.run(film(output_path=None, timeout=0.01))
    request.getfixturevalue("on_several_machines")

    path = runner.run(film(output_path=None))
    sensor = WanVideoSensor(task_id="wait", wan_task_id=gateway.emulator.ledger()[0]["task_id"], poke_interval=0.05)

    assert path.startswith(str(tmp_path / "home"))
    assert runner.run(sensor).startswith(str(tmp_path / "home"))
    assert len(gateway.emulator.ledger()) == 1


@pytest.mark.parametrize("name", ["latest.mp4.json", "latest.jpg"])
def test_a_sensor_is_not_held_up_by_a_pipe_beside_its_video(
    name: str, film: Callable[..., Any], gateway: Any, runner: Any, tmp_path: Path
) -> None:
    runner.run(film())
    os.mkfifo(tmp_path / name)
    bought = gateway.emulator.ledger()[0]["task_id"]
    latest = tmp_path / "latest.mp4"

    runner.run(WanVideoSensor(task_id="wait", wan_task_id=bought, output_path=latest, poster=True, poke_interval=0.05))

    assert latest.read_bytes() == (tmp_path / "film.mp4").read_bytes()
    assert (tmp_path / name).is_fifo()
    assert runner.instance.xcoms["wan_video"]["spent_usd"] is None
