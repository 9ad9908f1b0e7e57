"""Both workers and a triggerer are killed at once, while creates and downloads are under way and twenty videos wait.

Afterwards the workers come back, with a folder that they share.
"""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from airflow_cluster import WORKERS
from airflow_processes import wait_for
from cluster_stage import LONGEST_S, ClusterRun, Stage, assert_bought_once_and_delivered, colour_of, digest
from dag_runs import SLOW_S, Emulator

from airflow_wan.emulator.testing import FAST, RunningEmulator

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WAITING = 20
RESCUED = "is the one that an earlier try submitted without learning its id"
UNCERTAIN = "and never received an answer: the video may be in the making, and may be billed."
ONE_PROMPT = "a kite over the sea"


@dataclass(frozen=True)
class Runs:
    """The runs that go on when the machines are killed.

    :param waiting: twenty videos that wait in the triggerers.
    :param accepted: its create is accepted, and not yet answered.
    :param accepted_without_list: the same, at a gateway that has no list.
    :param one_of_two_accepted: two pictures under one prompt; the create of one is accepted, and not yet answered.
    :param one_of_two_unsent: the same, but the create that is not answered is not accepted either.
    :param downloading: a part of its video is on the disk of the worker.
    :param intent: the purchase record of `accepted` when its worker was killed.
    :param rescued: the record when its video was found, and not yet downloaded.
    :param left_behind: the temporary files that were on the disks of the workers when they were killed.
    """

    waiting: ClusterRun
    accepted: ClusterRun
    accepted_without_list: ClusterRun
    one_of_two_accepted: ClusterRun
    one_of_two_unsent: ClusterRun
    downloading: ClusterRun
    intent: dict[str, Any]
    rescued: dict[str, Any]
    left_behind: list[Path]


def temporary_files(stage: Stage) -> list[Path]:
    """Return the files of videos in the temporary folders of the workers."""
    folders = [stage.cluster.folder_of(name) / "tmp" for name in WORKERS]
    return [path for folder in folders for path in folder.rglob("*") if path.is_file() and "mp4" in path.name]


@pytest.fixture(scope="module")
def runs(stage: Stage) -> Iterator[Runs]:
    """Start the runs, kill the machines, and start the workers again."""
    with ExitStack() as running:
        gateways: list[Emulator] = []

        def start(name: str, pictures: list[str], fault: dict[str, object], **options: str | None) -> ClusterRun:
            gateway = Emulator(running.enter_context(RunningEmulator(FAST)).base_url)
            gateway.add_fault(**fault)
            gateways.append(gateway)
            return stage.start(name, pictures, on=gateway, **options)

        waiting = stage.start("waiting", [str(index) for index in range(WAITING)], on=stage.slow)
        waiting.wait_until_all("deferred")
        lost = {"on": "create", "kind": "hold"}
        held_download = {"on": "download", "kind": "hold", "times": None}  # a client that waits too long asks again
        one_of_two = {"prompt": ONE_PROMPT}
        held = {
            "accepted": start("accepted", ["red"], lost),
            "accepted_without_list": start("accepted without list", ["red"], lost, gateway="apiyi"),
            "one_of_two_accepted": start("one of two accepted", ["red", "blue"], {**lost, "after": 1}, **one_of_two),
            "one_of_two_unsent": start(
                "one of two unsent", ["red", "blue"], {**lost, "after": 1, "accepted": False}, **one_of_two
            ),
            "downloading": start("downloading", ["red"], {**held_download, "at_bytes": 1_000}),
        }
        wait_for("creates and downloads under way", lambda: all(_holds(gateway) for gateway in gateways), LONGEST_S)
        triggerer = stage.busiest_triggerer()
        for name in (*WORKERS, triggerer):
            stage.cluster.component(name).kill()
        left_behind = temporary_files(stage)
        accepted = held["accepted"]
        intent = accepted.record_of(0)
        # A create that is not accepted yet would be, if it was answered before its gateway has seen that nobody waits.
        wait_for("the gateways to see it", lambda: not any(_holds(gateway) for gateway in gateways), LONGEST_S)
        for gateway in gateways:
            gateway.http.delete("/_emulator/faults").raise_for_status()
        # The first download is for the comparison with the picture; the second one is for the file.
        accepted.emulator.add_fault(**held_download, after=1)
        share_a_folder(stage)
        for name in WORKERS:
            stage.cluster.component(name).start()
        stage.slow.advance(2 * SLOW_S)
        rescued = wait_for("a rescue", lambda: submitted_record(accepted), LONGEST_S)
        accepted.emulator.http.delete("/_emulator/faults").raise_for_status()
        yield Runs(waiting=waiting, intent=intent, rescued=rescued, left_behind=left_behind, **held)
        stage.cluster.component(triggerer).start()


def submitted_record(run: ClusterRun) -> dict[str, Any] | None:
    """Return the purchase record of the first video of a run, once it names a Wan task."""
    record = run.record_of(0)
    return record if record["state"] == "submitted" else None


def _holds(gateway: Emulator) -> bool:
    return any(row["holding"] for row in gateway.http.get("/_emulator/faults").json())


def share_a_folder(stage: Stage) -> None:
    """Make both workers see one folder at the default path of videos, and tell them so."""
    shared = stage.folder / "shared"
    shared.mkdir()
    for name in WORKERS:
        own = stage.cluster.folder_of(name) / "airflow" / "wan_videos"
        assert not [path for path in own.rglob("*") if path.is_file()], "a task that was refused leaves no file"
        shutil.rmtree(own, ignore_errors=True)
        own.symlink_to(shared)
        stage.cluster.component(name).environment["AIRFLOW__WAN__LOCAL_PATHS_ARE_SHARED"] = "True"


def test_videos_of_a_killed_triggerer_are_brought_home_by_the_other(runs: Runs) -> None:
    assert_bought_once_and_delivered(runs.waiting)
    assert runs.waiting.tries() == 1


def test_a_video_whose_worker_was_killed_during_the_create_is_found_and_brought_home(runs: Runs) -> None:
    assert_bought_once_and_delivered(runs.accepted)
    assert RESCUED in runs.accepted.log()


def test_the_record_of_a_rescued_video_is_complete(runs: Runs) -> None:
    run, (create,) = runs.accepted, runs.accepted.creates()
    intent, rescued = runs.intent, runs.rescued

    assert rescued["state"] == "submitted"
    assert rescued["wan_task_id"] == create["task_id"]
    assert rescued["order"]["request"]["input"]["prompt"] == run.orders[0]["prompt"]
    assert rescued["order"]["estimated_usd"] > 0
    unanswered = {name: value for name, value in intent.items() if name != "state"}
    assert {name: rescued[name] for name in unanswered} == unanswered


def test_the_record_beside_a_rescued_video_is_that_of_the_file_and_saves_another_purchase(runs: Runs) -> None:
    run = runs.accepted
    assert_bought_once_and_delivered(run)

    beside, rescued = run.sidecar("0.mp4"), runs.rescued
    assert beside["video"]["sha256"] == digest(run.content("0.mp4"))
    assert beside["gateway"]["wan_task_id"] == rescued["wan_task_id"]
    assert beside["fingerprint"] == rescued["fingerprint"]
    assert beside["generation"]["prompt"] == run.orders[0]["prompt"]
    assert beside["cost"]["estimated"] == pytest.approx(rescued["order"]["estimated_usd"], rel=0.01)
    assert beside["inspection"]["shortcomings"] == []
    run.clear()
    assert run.wait_for_end() == "success", run.log()
    assert "nothing is submitted" in run.log()
    assert len(run.creates()) == 1


def test_without_a_list_the_task_stops_for_a_person_after_one_create(runs: Runs) -> None:
    run = runs.accepted_without_list

    assert run.wait_for_end() == "failed", run.log()

    assert run.billed() == len(run.creates()) == 1
    assert UNCERTAIN in run.log()
    assert run.keys() == []


def test_of_two_pictures_under_one_prompt_the_rescued_one_comes_to_its_own_path(runs: Runs) -> None:
    run = runs.one_of_two_accepted

    assert run.wait_for_end() == "success", run.log()

    assert run.billed() == len(run.creates()) == 2
    assert [colour_of(run.content(f"{index}.mp4")) for index in (0, 1)] == ["red", "blue"]
    assert sorted(run.content(f"{index}.mp4") for index in (0, 1)) == sorted(run.videos()[ONE_PROMPT])


def test_a_create_that_was_not_accepted_does_not_take_the_video_of_the_other_picture(runs: Runs) -> None:
    run = runs.one_of_two_unsent

    assert run.wait_for_end() == "failed", run.log()

    assert run.billed() == len(run.creates()) == 1
    delivered = run.states().index("success")
    assert colour_of(run.content(f"{delivered}.mp4")) == ("red", "blue")[delivered]
    assert run.keys() == [f"{delivered}.mp4", f"{delivered}.mp4.json"]
    assert UNCERTAIN in run.log()


def test_a_video_whose_worker_was_killed_during_the_download_is_brought_home(runs: Runs) -> None:
    assert_bought_once_and_delivered(runs.downloading)


def test_the_next_task_on_a_machine_removes_what_a_killed_one_left_behind(stage: Stage, runs: Runs) -> None:
    assert_bought_once_and_delivered(runs.downloading)
    assert runs.left_behind

    run = stage.start("on each machine", ["red", "blue"], dag_id="on_each_machine")
    assert run.wait_for_end() == "success", run.log()

    assert temporary_files(stage) == []


def test_a_default_path_on_a_folder_that_is_shared_works(stage: Stage, runs: Runs) -> None:
    run = stage.start("a shared folder", ["red"], dag_id="default_path")

    assert run.wait_for_end() == "success", run.log()

    assert run.billed() == len(run.creates()) == 1
    assert run.xcom(task_id="look") == len(run.videos()[run.orders[0]["prompt"]][0])
