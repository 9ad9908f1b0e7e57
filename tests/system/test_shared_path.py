"""Tasks of two DAGs deliver to one path at the same time: each video is paid once, and none is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from journeys import Journey, Stage


def parts(folder: Path) -> list[Path]:
    """Return the unfinished downloads in a folder."""
    return list(folder.glob(".*.part"))


def gateway_video(journey: Journey) -> bytes:
    """Return the video that the gateway made for a run."""
    (create,) = journey.creates()
    return journey.emulator.video(journey.gateway, journey.key, create["task_id"])


def test_a_video_that_finds_another_one_at_its_path_is_kept_beside_it(stage: Stage) -> None:
    path = stage.folder / "videos" / "shared" / "clip.mp4"
    slower = stage.start(
        "shared path, slower",
        output_path=path,
        pause_at="during the download",
        first_frame=stage.media.url("red.png"),
    )
    slower.wait_for_pause()
    faster = stage.start("shared path, faster", dag_id="system_video_sync", output_path=path)

    assert faster.wait_for_end() == "success", faster.log()
    assert faster.has_whole_video()
    assert len(parts(path.parent)) == 1, "the unfinished download of the other task is still there"
    slower.release()
    assert slower.wait_for_end() == "failed", slower.log()

    beside = path.with_name(f"clip.{slower.creates()[0]['task_id']}.mp4")
    assert beside.read_bytes() == gateway_video(slower)
    assert f"This video is kept at {beside}." in slower.log()
    assert faster.has_whole_video()
    assert faster.xcom() == str(path)
    for journey in (slower, faster):
        assert journey.billed() == len(journey.creates()) == 1
    assert parts(path.parent) == []


def test_two_downloads_to_one_path_at_the_same_moment_leave_two_videos(stage: Stage) -> None:
    path = stage.folder / "videos" / "raced" / "clip.mp4"
    journeys = [
        stage.start(
            f"raced path, {dag_id}",
            dag_id=dag_id,
            output_path=path,
            pause_at="before publishing",
            first_frame=stage.media.url(image),
        )
        for dag_id, image in {"system_video": "red.png", "system_video_sync": "blue.png"}.items()
    ]
    for journey in journeys:
        journey.wait_for_pause()
    assert len(parts(path.parent)) == 2
    for journey in journeys:
        journey.release()

    assert sorted(journey.wait_for_end() for journey in journeys) == ["failed", "success"]

    (delivered,) = [journey for journey in journeys if journey.wait_for_end() == "success"]
    (kept,) = [journey for journey in journeys if journey is not delivered]
    beside = path.with_name(f"clip.{kept.creates()[0]['task_id']}.mp4")
    assert delivered.has_whole_video()
    assert beside.read_bytes() == gateway_video(kept)
    assert f"This video is kept at {beside}." in kept.log()
    for journey in journeys:
        assert journey.billed() == len(journey.creates()) == 1
    assert parts(path.parent) == []
