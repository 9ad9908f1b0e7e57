"""What one machine has and another one lacks: a folder, a connection; and two machines that write to one path."""

from __future__ import annotations

import pytest
from cluster_stage import (
    CONN_ON_WORKERS,
    KEY_ON_WORKERS,
    ClusterRun,
    Stage,
    assert_bought_once_and_delivered,
    colour_of,
)


@pytest.fixture(scope="module")
def runs(stage: Stage) -> dict[str, ClusterRun]:
    """Start all runs of this module; they go on at the same time."""
    return {
        "nowhere": stage.start("nowhere", ["red"], dag_id="default_path"),
        "connection": stage.start(
            "connection on workers only", ["red", "blue"], wan_conn_id=CONN_ON_WORKERS, key=KEY_ON_WORKERS
        ),
        "one path": stage.start("one path", ["red", "blue"], dag_id="on_each_machine", shared_path="shared/clip.mp4"),
        "pair": stage.start("pair", ["blue"], dag_id="pair"),
        "one prompt": stage.start("one prompt", ["red", "blue"], prompt="a kite over the sea"),
    }


def test_no_video_is_bought_for_a_folder_that_nobody_has_chosen(runs: dict[str, ClusterRun]) -> None:
    run = runs["nowhere"]

    assert run.wait_for_end() == "failed"

    assert run.creates() == []
    assert "Set output_path, or [wan] output_base, to an object store" in run.log()
    assert "local_paths_are_shared = True" in run.log()
    assert run.tries() == 1, "a retry on the same machine would not find another folder"


def test_videos_come_home_although_triggerers_lack_the_connection(runs: dict[str, ClusterRun]) -> None:
    run = runs["connection"]

    assert_bought_once_and_delivered(run)

    assert "The triggerer cannot use the Airflow connection of wan task" in run.log()
    assert "which is paid for" in run.log()
    assert run.log().count("unknown field 'read_time'") == 2, "it is warned about once for each purchase"


def test_two_machines_that_write_to_one_path_lose_no_video(stage: Stage, runs: dict[str, ClusterRun]) -> None:
    run = runs["one path"]

    assert run.wait_for_end() == "failed", run.log()

    (delivered,) = [order for order in (1, 2) if run.state(f"video_{order}") == "success"]
    (kept,) = {1, 2} - {delivered}
    paths = [key for key in stage.cluster.store.keys("shared/") if key.endswith(".mp4")]
    (beside,) = [path for path in paths if path != "shared/clip.mp4"]
    made = run.videos()
    assert len(paths) == run.billed() == len(run.creates()) == 2
    assert made[run.orders[delivered - 1]["prompt"]] == [stage.cluster.store.content("shared/clip.mp4")]
    assert made[run.orders[kept - 1]["prompt"]] == [stage.cluster.store.content(beside)]
    assert f"This video is kept at s3://store@clips/{beside}" in run.log()


def test_a_video_that_one_machine_submits_is_brought_home_by_another(runs: dict[str, ClusterRun]) -> None:
    run = runs["pair"]

    assert_bought_once_and_delivered(run)


def test_two_pictures_under_one_prompt_come_to_their_own_paths(runs: dict[str, ClusterRun]) -> None:
    run = runs["one prompt"]

    assert run.wait_for_end() == "success", run.log()

    assert run.billed() == len(run.creates()) == 2
    assert [colour_of(run.content(f"{index}.mp4")) for index in (0, 1)] == ["red", "blue"]
    assert sorted(run.content(f"{index}.mp4") for index in (0, 1)) == sorted(run.videos()["a kite over the sea"])
