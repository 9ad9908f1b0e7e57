"""Two tasks with one path: whatever their timing, no paid video is lost, and none is taken for another."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from task_runner import TaskRunner, out_of_time

from airflow_wan.exceptions import DestinationError
from airflow_wan.operators.wan import WanSubmitVideoOperator
from airflow_wan.sensors.wan import WanVideoSensor
from airflow_wan.videos import told_paths
from airflow_wan.videos.destination import Destination

if TYPE_CHECKING:
    from collections.abc import Callable

# Two wishes of different lengths: the emulator's videos of equal ones are equal.
FIRST = {"prompt": "A red kite."}
SECOND = {"prompt": "A blue kite.", "duration": 3}

# What the second task instance is to the first, which is mapped and of the run "monday".
OTHERS = {
    "another mapped instance": {"map_index": 1},
    "another task": {"task_id": "other"},
    "another DAG": {"dag_id": "other"},
    "the next run": {"run_id": "tuesday"},
    "an instance of the next run": {"run_id": "tuesday", "map_index": 1},
}
NEXT_RUNS = [name for name in OTHERS if "next run" in name]


@pytest.fixture
def gateway(connect_to: Callable[[str], Any]) -> Any:
    return connect_to("dashscope")


def instance(runner: TaskRunner, **identity: Any) -> TaskRunner:
    """A task instance with a record of its own, on the same Airflow as `runner`."""
    made = TaskRunner()
    for name, value in {"run_id": "monday", "map_index": 0, **identity}.items():
        setattr(made.instance, name, value)
    made.instance.all_xcoms = runner.instance.all_xcoms
    return made


def run(instance: TaskRunner, task: Any) -> Any:
    """One try, in which Airflow's own record of the task id is that of the instance."""
    task.task_id = instance.instance.task_id
    return instance.run(task)


class Meanwhile:
    """Has something happen while a deferred task waits for its video."""

    def __init__(self, instance: TaskRunner, happens: Callable[[], Any]) -> None:
        self._fire, self._happens = instance._fire, happens
        instance._fire = self  # type: ignore[method-assign,assignment]

    def __call__(self, trigger: Any) -> Any:
        self._happens()
        return self._fire(trigger)


def kept_beside(error: Exception, folder: Path) -> Path:
    """The video that a failed task says it has kept, with its record beside it."""
    told = [path for path in folder.glob("*.mp4") if str(path) in str(error)]
    (kept,) = [path for path in told if path.name != "film.mp4"]
    record = json.loads(kept.with_name(f"{kept.name}.json").read_text())
    assert record["video"]["sha256"] == hashlib.sha256(kept.read_bytes()).hexdigest()
    assert record["gateway"]["wan_task_id"] in kept.name
    return kept


def is_whole(video: dict[str, Any]) -> bool:
    """Whether the video that a task has handed on is at its path."""
    return hashlib.sha256(Path(video["path"]).read_bytes()).hexdigest() == video["sha256"]


@pytest.mark.takes_time
@pytest.mark.parametrize("sidecar", [True, False], ids=["records", "no records"])
@pytest.mark.parametrize("other", [name for name in OTHERS if name != "another mapped instance"])
def test_of_two_that_overlap_the_second_keeps_its_video_beside(
    other: str, sidecar: bool, film: Callable[..., Any], gateway: Any, runner: TaskRunner, tmp_path: Path
) -> None:
    first, second = instance(runner), instance(runner, **OTHERS[other])
    Meanwhile(second, lambda: run(first, film(**FIRST, sidecar=sidecar)))

    with pytest.raises(AirflowFailException, match="stays there") as failed:
        run(second, film(**SECOND, poster=True))

    kept = kept_beside(failed.value, tmp_path)
    assert is_whole(first.instance.xcoms["wan_video"])
    assert kept.read_bytes() != (tmp_path / "film.mp4").read_bytes()
    assert not (tmp_path / "film.jpg").exists()
    assert len(gateway.emulator.ledger()) == 2
    assert not list(tmp_path.glob(".*"))


@pytest.mark.takes_time
def test_a_retry_of_the_second_buys_nothing_and_says_the_same(
    film: Callable[..., Any], gateway: Any, runner: TaskRunner, tmp_path: Path
) -> None:
    first, second = instance(runner), instance(runner, task_id="other")
    Meanwhile(second, lambda: None if first.instance.xcoms else run(first, film(**FIRST)))

    for _ in range(2):
        with pytest.raises(AirflowFailException) as failed:
            run(second, film(**SECOND))
        kept_beside(failed.value, tmp_path)

    run(second, film(**SECOND, output_path=str(tmp_path / "own.mp4")))

    assert len(gateway.emulator.ledger()) == 2
    assert is_whole(second.instance.xcoms["wan_video"])


@pytest.mark.takes_time
def test_a_second_video_that_is_rejected_does_not_replace_a_rejected_one(
    film: Callable[..., Any], gateway: Any, runner: TaskRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_wan.api.requests import VideoRequest
    from airflow_wan.exceptions import VideoRejected

    monkeypatch.setattr(VideoRequest, "seconds", property(lambda _: 7))
    kept = []
    for wish in (FIRST, SECOND, SECOND | {"duration": 4}):
        with pytest.raises(VideoRejected) as raised:
            run(instance(runner, task_id=f"film_{len(kept)}"), film(**wish))
        kept.append(raised.value.kept_at)

    assert len(set(kept)) == 3
    assert all(path and Path(path).exists() for path in kept)


@pytest.mark.parametrize(
    ("other", "sidecar"), [("the next run", True), ("the next run", False), ("an instance of the next run", True)]
)
def test_the_next_run_of_a_task_replaces_the_video_of_the_run_before(
    other: str, sidecar: bool, film: Callable[..., Any], gateway: Any, runner: TaskRunner, tmp_path: Path
) -> None:
    run(instance(runner), film(**FIRST, sidecar=sidecar))
    second = instance(runner, **OTHERS[other])

    path = run(second, film(**SECOND, sidecar=sidecar))

    assert path == str(tmp_path / "film.mp4")
    assert is_whole(second.instance.xcoms["wan_video"])
    assert len(gateway.emulator.ledger()) == 2


@pytest.mark.takes_time
def test_of_two_mapped_instances_that_overlap_the_second_buys_nothing(
    film: Callable[..., Any], gateway: Any, runner: TaskRunner
) -> None:
    first, second = instance(runner), instance(runner, map_index=1)
    refused: list[pytest.ExceptionInfo[Exception]] = []

    def second_comes() -> None:
        with pytest.raises(AirflowFailException, match="Map index 0 of this task writes to") as refusal:
            run(second, film(**SECOND))
        refused.append(refusal)

    Meanwhile(first, second_comes)
    run(first, film(**FIRST))

    assert len(refused) == len(gateway.emulator.ledger()) == 1
    assert is_whole(first.instance.xcoms["wan_video"])


def test_a_retry_of_the_first_is_not_kept_from_its_video_by_an_instance_that_was_refused(
    film: Callable[..., Any], gateway: Any, runner: TaskRunner
) -> None:
    first, second = instance(runner), instance(runner, map_index=1)
    with out_of_time(gateway.emulator):
        run(first, film(**FIRST, timeout=0.01))
    with pytest.raises(AirflowFailException, match="Map index 0"):
        run(second, film(**SECOND))

    run(first, film(**FIRST))
    with pytest.raises(AirflowFailException, match=r"Map index 0|video of another task"):
        run(second, film(**SECOND))

    assert len(gateway.emulator.ledger()) == 1
    assert is_whole(first.instance.xcoms["wan_video"])


def test_mapped_instances_that_look_at_the_same_moment_do_not_both_buy(runner: TaskRunner, tmp_path: Path) -> None:
    """Each has told its path before either looks: here both are refused, which costs nothing."""
    destination = Destination(str(tmp_path / "film.mp4"))
    same = Destination(f"{tmp_path}/../{tmp_path.name}//film.mp4")
    contexts: list[Any] = [{"ti": instance(runner, map_index=index).instance} for index in range(3)]
    for context, place in zip(contexts, (destination, same, Destination(str(tmp_path / "own.mp4"))), strict=True):
        told_paths.tell_path(context, place)

    assert told_paths.find_sibling(contexts[0], destination) == 1
    assert told_paths.find_sibling(contexts[1], same) == 0
    assert told_paths.find_sibling(contexts[2], Destination(str(tmp_path / "own.mp4"))) is None


@pytest.mark.parametrize("state", ["removed", "skipped", None, "scheduled", "queued", "running", "up_for_retry"])
def test_a_path_that_an_instance_had_before_the_run_was_cleared_is_not_refused_for_good(
    state: str | None, runner: TaskRunner, tmp_path: Path
) -> None:
    """The list that a task is mapped over has lost its first item since: each instance has another path now."""
    destination = Destination(str(tmp_path / "film.mp4"))
    first, second = instance(runner), instance(runner, map_index=1)
    told_paths.tell_path({"ti": second.instance}, destination)  # type: ignore[typeddict-item]
    second.state = state
    context: Any = {"ti": first.instance}

    if state in ("removed", "skipped"):
        assert told_paths.find_sibling(context, destination) is None
    elif state in ("running", "up_for_retry"):
        assert told_paths.find_sibling(context, destination) == 1
    else:
        with pytest.raises(DestinationError, match="A retry checks this again") as raised:
            told_paths.find_sibling(context, destination)
        assert raised.value.retry_can_help


@pytest.mark.parametrize("other", [name for name in OTHERS if name not in NEXT_RUNS])
def test_a_task_that_would_replace_another_tasks_video_buys_nothing(
    other: str, film: Callable[..., Any], gateway: Any, runner: TaskRunner
) -> None:
    first, second = instance(runner), instance(runner, **OTHERS[other])
    run(first, film(**FIRST))

    with pytest.raises(AirflowFailException, match=r"video of another task|Map index 0"):
        run(second, film(**SECOND))

    assert is_whole(first.instance.xcoms["wan_video"])
    assert len(gateway.emulator.ledger()) == 1


def test_another_task_with_the_same_request_may_have_the_video_that_is_there(
    film: Callable[..., Any], gateway: Any, runner: TaskRunner
) -> None:
    first, second = instance(runner), instance(runner, task_id="other")

    assert run(first, film(**FIRST)) == run(second, film(**FIRST))
    assert second.instance.xcoms["wan_video"]["reused"]
    assert len(gateway.emulator.ledger()) == 1


@pytest.mark.takes_time
def test_an_older_try_that_thaws_does_not_replace_the_video_of_a_newer_one(
    film: Callable[..., Any], gateway: Any, runner: TaskRunner, tmp_path: Path
) -> None:
    """The newer try knows nothing of the older one's purchase, whose record only the older one finds."""
    frozen, newer = instance(runner), instance(runner, try_number=1)

    def newer_try_with_an_empty_ledger() -> None:
        aside = dict(runner.store.rows)  # before Airflow 3.3, all instances have their Variables in one store
        runner.store.rows.clear()
        run(newer, film(**SECOND))
        runner.store.rows.update(aside)

    Meanwhile(frozen, newer_try_with_an_empty_ledger)

    with pytest.raises(AirflowFailException) as failed:
        run(frozen, film(**FIRST))

    kept_beside(failed.value, tmp_path)
    assert is_whole(newer.instance.xcoms["wan_video"])


@pytest.mark.takes_time
def test_a_sensor_does_not_replace_the_video_of_another_task(
    film: Callable[..., Any], gateway: Any, runner: TaskRunner, tmp_path: Path
) -> None:
    submit = WanSubmitVideoOperator(
        task_id="submit", model="wan2.7-t2v", prompt=SECOND["prompt"], parameters={"duration": SECOND["duration"]}
    )
    bought = run(instance(runner, task_id="submit"), submit)
    first, sensor = instance(runner), instance(runner, task_id="wait")
    run(first, film(**FIRST))

    with pytest.raises(AirflowFailException) as failed:
        run(
            sensor,
            WanVideoSensor(
                task_id="wait", wan_task_id=bought, output_path=str(tmp_path / "film.mp4"), poke_interval=0.05
            ),
        )

    assert bought in kept_beside(failed.value, tmp_path).name
    assert is_whole(first.instance.xcoms["wan_video"])


def test_a_sensor_of_the_next_run_replaces_the_video_of_the_run_before(
    film: Callable[..., Any], gateway: Any, runner: TaskRunner, tmp_path: Path
) -> None:
    for run_id, wish in (("monday", FIRST), ("tuesday", SECOND)):
        run(instance(runner), film(**wish, output_path=str(tmp_path / f"{run_id}.mp4")))
        sensor = instance(runner, run_id=run_id)
        wait = WanVideoSensor(
            task_id="animate",
            wan_task_id=gateway.emulator.ledger()[-1]["task_id"],
            output_path=str(tmp_path / "latest.mp4"),
            poke_interval=0.05,
        )
        assert run(sensor, wait) == str(tmp_path / "latest.mp4")
        assert is_whole(sensor.instance.xcoms["wan_video"])
