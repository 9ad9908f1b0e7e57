"""Which file at a destination a new video may replace, where no record tells whose it is."""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING

import pytest

from airflow_wan.purchases.record import NOTHING_KNOWN
from airflow_wan.videos.destination import Destination
from airflow_wan.videos.ownership import NewVideo
from airflow_wan.videos.sidecar import AirflowTask

if TYPE_CHECKING:
    from pathlib import Path

NEW, OLD, FOREIGN = b"the new video", b"the video of the last run", b"a file of somebody"


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def may_replace(path: Path, *, ours: bytes, ordered_at: float) -> bool:
    """Return the answer for the new video, for a task whose last run has handed on `ours`."""
    task = AirflowTask(dag_id="films", run_id="monday", task_id="animate", map_index=-1)
    video = NewVideo("a-task", digest_of(NEW), task, NOTHING_KNOWN, ordered_at, frozenset({digest_of(ours)}))
    return video.may_replace(Destination(str(path)))


@pytest.mark.parametrize("ours", [NEW, OLD], ids=["the last run made the same", "the last run made another"])
def test_a_killed_try_left_this_very_video_without_its_record(tmp_path: Path, ours: bytes) -> None:
    """The file is younger than the order, for an earlier try of this purchase has published it."""
    (tmp_path / "film.mp4").write_bytes(NEW)

    assert may_replace(tmp_path / "film.mp4", ours=ours, ordered_at=time.time() - 60)


def test_the_video_of_the_last_run_is_replaced_if_it_was_there_before_the_order(tmp_path: Path) -> None:
    (tmp_path / "film.mp4").write_bytes(OLD)

    assert may_replace(tmp_path / "film.mp4", ours=OLD, ordered_at=time.time() + 60)
    assert not may_replace(tmp_path / "film.mp4", ours=OLD, ordered_at=time.time() - 60)


def test_a_link_to_nowhere_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "film.mp4").symlink_to(tmp_path / "nowhere")

    assert may_replace(tmp_path / "film.mp4", ours=OLD, ordered_at=time.time() - 60)


def test_a_file_that_nobody_knows_stays(tmp_path: Path) -> None:
    (tmp_path / "film.mp4").write_bytes(FOREIGN)

    assert not may_replace(tmp_path / "film.mp4", ours=OLD, ordered_at=time.time() + 60)
