"""What many tasks may spend together: every create that is sent counts once, and what was not bought is given back.

The operators, the reservations, the ledger and the wire are real; the gateway is the emulator.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import submitting_processes
from airflow.providers.common.compat.sdk import AirflowFailException, AirflowTaskTimeout
from task_runner import HAS_STATE_STORE, TaskRunner

from airflow_wan.api.client import WanClient
from airflow_wan.emulator.testing import AT_ONCE
from airflow_wan.exceptions import (
    BudgetExceeded,
    CostLimitExceeded,
    LedgerUnreadable,
    SubmitAmbiguous,
    VideoDownloadFailed,
    VideoTaskFailed,
)
from airflow_wan.operators.wan import WanSubmitVideoOperator
from airflow_wan.purchases import budget as budgets
from airflow_wan.purchases import buyer
from airflow_wan.purchases.budget import Stage, read_reservations
from airflow_wan.sensors.wan import WanVideoSensor

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_wan.emulator.testing import RunningEmulator

A_VIDEO = 0.2
"""What 2 s of wan2.7-i2v at 720P cost at DashScope by the list price, USD."""


class Killed(BaseException):
    """The worker gets SIGKILL: nothing that comes after runs."""


def die(*_: Any, **__: Any) -> None:
    raise Killed


@pytest.fixture
def gateway(connect_to: Callable[[str], Any]) -> Any:
    return connect_to("dashscope")


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "budget"
    monkeypatch.setenv("AIRFLOW__WAN__BUDGET_BASE", str(folder))
    return folder


@pytest.fixture
def run_budget(base: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    return lambda usd: monkeypatch.setenv("AIRFLOW__WAN__MAX_COST_PER_DAG_RUN", str(usd))


@pytest.fixture
def month_budget(base: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    return lambda usd: monkeypatch.setenv("AIRFLOW__WAN__MAX_COST_PER_MONTH", str(usd))


def instance(map_index: int = -1, **identity: Any) -> TaskRunner:
    """Another task instance of the same DAG run, with a record of its own."""
    made = TaskRunner()
    for name, value in {"map_index": map_index, **identity}.items():
        setattr(made.instance, name, value)
    return made


def reserved(base: Path, scope: str = "runs") -> list[tuple[Stage, float]]:
    """What all listings of a scope tell together: stage and amount of each reservation."""
    names = [path.name for path in (base / scope).rglob("*.json")]
    return sorted((one.stage, one.millionths / 1_000_000) for one in read_reservations(names))


def creates(gateway: Any) -> int:
    return len(gateway.emulator.ledger())


def test_a_run_buys_until_its_budget_is_used_up(
    film: Callable[..., Any], gateway: Any, runner: Any, run_budget: Callable[[float], None], tmp_path: Path
) -> None:
    run_budget(2.5 * A_VIDEO)

    runner.run(film())
    instance(1).run(film(output_path=str(tmp_path / "second.mp4")))
    with pytest.raises(AirflowFailException) as failed:
        instance(2).run(film(output_path=str(tmp_path / "third.mp4")))

    error = failed.value
    assert creates(gateway) == 2
    assert isinstance(error, BudgetExceeded)
    assert (error.scope, error.budget_usd, error.wanted_usd) == ("dag_run", 0.5, 0.2)
    assert (error.spent_usd, error.reserved_usd, error.billed) == (0.4, 0.0, False)
    for part in ("0.5 USD", "max_cost_per_dag_run", "0.40 USD are spent", "Nothing was sent."):
        assert part in str(error)


def test_another_run_has_a_budget_of_its_own_and_the_month_is_one_for_all(
    film: Callable[..., Any],
    gateway: Any,
    runner: Any,
    run_budget: Callable[[float], None],
    month_budget: Callable[[float], None],
    tmp_path: Path,
    base: Path,
) -> None:
    run_budget(A_VIDEO)
    month_budget(2 * A_VIDEO)

    for number, run_id in enumerate(("monday", "tuesday")):
        instance(run_id=run_id).run(film(output_path=str(tmp_path / f"{number}.mp4")))
    with pytest.raises(BudgetExceeded, match=r"No more than 0\.4 USD may be spent in 20\S+ \(UTC\)") as failed:
        instance(run_id="wednesday").run(film(output_path=str(tmp_path / "3.mp4")))

    assert failed.value.scope == "month"
    assert creates(gateway) == 2
    # What was reserved of the run's budget is given back when the month has no room.
    assert len(reserved(base, "runs")) == len(reserved(base, "months")) == 2


def test_a_month_is_that_of_utc(runner: Any, month_budget: Callable[[float], None]) -> None:
    month_budget(1)
    this_try = budgets_try()

    (last_second,) = budgets.open_budgets(this_try, now=1_793_491_199.0)  # 2026-10-31 23:59:59 UTC
    (next_second,) = budgets.open_budgets(this_try, now=1_793_491_200.0)

    assert last_second.reservations.folder == "months/2026-10"
    assert next_second.reservations.folder == "months/2026-11"


def budgets_try(**identity: Any) -> Any:
    from airflow_wan.purchases.this_try import ThisTry

    known = {"dag_id": "films", "run_id": "monday", "task_id": "animate", "map_index": -1, "ti_id": None}
    return ThisTry(**known | identity)


@pytest.mark.parametrize("count", [2, 8])
def test_tasks_that_start_at_the_same_moment_buy_what_the_budget_has_room_for(
    count: int,
    wan_emulator_for: Callable[..., RunningEmulator],
    base: Path,
    tmp_path: Path,
    runner: Any,
) -> None:
    emulator = wan_emulator_for(AT_ONCE)
    emulator.reset()
    room = count // 2
    environment = os.environ | {
        "AIRFLOW__WAN__MAX_COST_PER_DAG_RUN": str(room * A_VIDEO + 0.01),
        "PYTHONPATH": os.pathsep.join([str(Path(submitting_processes.__file__).parent), *sys.path]),
    }

    subprocess.run(
        [sys.executable, submitting_processes.__file__, emulator.base_url, str(tmp_path), str(count)],
        env=environment,
        check=True,
        timeout=150,
    )

    outcomes = [json.loads(path.read_text()) for path in tmp_path.glob("*.outcome.json")]
    errors = [outcome["error"] for outcome in outcomes if "error" in outcome]
    assert len(emulator.ledger()) == room
    assert len(outcomes) == count
    assert len(errors) == count - room
    assert all(error.startswith("BudgetExceeded") and "may be spent in this DAG run" in error for error in errors)
    assert reserved(base) == [(Stage.BOUGHT, A_VIDEO)] * room


def test_a_retry_of_what_is_bought_needs_no_room(
    film: Callable[..., Any],
    gateway: Any,
    runner: Any,
    run_budget: Callable[[float], None],
    base: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from airflow_wan.videos import delivery

    run_budget(A_VIDEO)

    def cut(*_: Any, **__: Any) -> None:
        raise VideoDownloadFailed("The connection to the file host failed.")

    with monkeypatch.context() as patch:
        patch.setattr(delivery, "download", cut)
        with pytest.raises(VideoDownloadFailed):
            runner.run(film())
    run_budget(0)
    path = runner.run(film())

    assert Path(path).exists()
    assert creates(gateway) == 1
    assert reserved(base) == [(Stage.SETTLED, A_VIDEO)]


def test_a_cleared_task_whose_video_is_there_needs_no_room(
    film: Callable[..., Any], gateway: Any, runner: Any, run_budget: Callable[[float], None]
) -> None:
    run_budget(A_VIDEO)

    runner.run(film())
    runner.run(film())

    assert creates(gateway) == 1


def test_a_cleared_task_that_makes_a_new_video_pays_from_the_budget_again(
    film: Callable[..., Any], gateway: Any, runner: Any, run_budget: Callable[[float], None]
) -> None:
    run_budget(1.5 * A_VIDEO)

    runner.run(film(reuse=False))
    with pytest.raises(BudgetExceeded):
        runner.run(film(reuse=False))

    assert creates(gateway) == 1


def test_what_it_has_cost_takes_the_place_of_the_estimate(
    film: Callable[..., Any], gateway: Any, runner: Any, run_budget: Callable[[float], None], base: Path
) -> None:
    run_budget(1)

    runner.run(film())

    assert reserved(base) == [(Stage.SETTLED, runner.instance.xcoms["wan_video"]["settled_cost_usd"])]


def test_what_apiyi_does_not_tell_stays_the_estimate(
    film: Callable[..., Any], connect_to: Any, runner: Any, run_budget: Callable[[float], None], base: Path
) -> None:
    connect_to("apiyi")
    run_budget(1)

    runner.run(film())

    assert reserved(base) == [(Stage.BOUGHT, 0.168)]


@pytest.mark.parametrize("deferrable", [True, False])
@pytest.mark.takes_time
def test_a_failed_wan_task_gives_its_reservation_back(
    deferrable: bool,
    film: Callable[..., Any],
    gateway: Any,
    runner: Any,
    run_budget: Callable[[float], None],
    base: Path,
) -> None:
    run_budget(A_VIDEO)
    gateway.emulator.add_fault(on="create", kind="task_failed", code="InternalError", message="try again")

    with pytest.raises(VideoTaskFailed):
        runner.run(film(deferrable=deferrable))
    assert reserved(base) == []
    runner.run(film(deferrable=deferrable))

    assert [row["billed"] for row in gateway.emulator.ledger()] == [False, True]


def test_a_wan_task_that_failed_after_the_worker_was_killed_gives_its_reservation_back(
    film: Callable[..., Any],
    gateway: Any,
    runner: Any,
    run_budget: Callable[[float], None],
    base: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from airflow_wan.videos.job import VideoJob

    run_budget(A_VIDEO)
    gateway.emulator.add_fault(on="create", kind="task_failed", code="InternalError", message="try again")

    with monkeypatch.context() as patch:
        patch.setattr(VideoJob, "wait", die)
        with pytest.raises(Killed):
            runner.run(film())
    assert reserved(base) == [(Stage.BOUGHT, A_VIDEO)]
    runner.run(film())

    assert [row["billed"] for row in gateway.emulator.ledger()] == [False, True]


def test_a_refused_create_request_gives_its_reservation_back(
    film: Callable[..., Any], gateway: Any, runner: Any, run_budget: Callable[[float], None], base: Path
) -> None:
    run_budget(A_VIDEO)
    gateway.emulator.add_fault(on="create", kind="insufficient_balance")

    with pytest.raises(AirflowFailException):
        runner.run(film())

    assert reserved(base) == []
    runner.run(film())


@pytest.mark.parametrize("where", ["in a line", "while the gateway throttles", "during the create request"])
def test_airflows_own_timeout_gives_the_reservation_back_if_nothing_was_sent(
    where: str,
    film: Callable[..., Any],
    gateway: Any,
    runner: Any,
    run_budget: Callable[[float], None],
    base: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Airflow raises it wherever the task is, from a signal handler."""

    def time_out(*_: Any) -> None:
        raise AirflowTaskTimeout("Timeout")

    if where == "in a line":
        monkeypatch.setattr(buyer, "wait_for_turn", lambda *_, **__: time_out())
    elif where == "while the gateway throttles":
        gateway.emulator.add_fault(on="create", kind="throttled", times=None)
        monkeypatch.setattr("tenacity.nap.time", SimpleNamespace(sleep=time_out))
    else:
        monkeypatch.setattr(WanClient, "create", time_out)
    run_budget(A_VIDEO)

    with pytest.raises(AirflowTaskTimeout):
        runner.run(film())

    assert [stage for stage, _ in reserved(base)] == ([Stage.GRANTED] if where == "during the create request" else [])


def test_a_lost_answer_counts_as_spent(
    film: Callable[..., Any], connect_to: Any, runner: Any, run_budget: Callable[[float], None], base: Path
) -> None:
    gateway = connect_to("apiyi")
    run_budget(0.168)
    gateway.emulator.add_fault(on="create", kind="drop_connection")

    with pytest.raises(SubmitAmbiguous):
        runner.run(film())
    with pytest.raises(BudgetExceeded) as failed:
        runner.run(film(on_ambiguous_submit="resubmit"))

    assert (failed.value.spent_usd, failed.value.reserved_usd) == (0.168, 0)
    assert creates(gateway) == 1
    assert reserved(base) == [(Stage.BOUGHT, 0.168)]


def test_a_changed_request_that_is_bought_counts_beside_the_first(
    film: Callable[..., Any],
    gateway: Any,
    runner: Any,
    run_budget: Callable[[float], None],
    base: Path,
) -> None:
    run_budget(1.5 * A_VIDEO)
    runner.run(film(), killed_before_success=True)

    with pytest.raises(BudgetExceeded):
        runner.run(film(prompt="Snow falls.", on_changed_request="resubmit"))
    run_budget(2 * A_VIDEO)
    runner.run(film(prompt="Snow falls.", on_changed_request="resubmit"))

    assert creates(gateway) == 2
    assert len(reserved(base)) == 2


KILLED = {
    "while it has decided nothing": [(budgets, "judge"), (budgets.Reservations, "withdraw")],
    "before the create request": [(buyer._Sender, "send")],
}


@pytest.mark.parametrize("step", KILLED)
def test_what_a_killed_try_has_reserved_is_taken_over_by_the_next_one(
    step: str,
    film: Callable[..., Any],
    gateway: Any,
    runner: Any,
    run_budget: Callable[[float], None],
    base: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    run_budget(A_VIDEO)
    with monkeypatch.context() as patch:
        for owner, name in KILLED[step]:
            patch.setattr(owner, name, die)
        with pytest.raises(Killed):
            runner.run(film())
    (left,) = reserved(base)
    assert left[1] == A_VIDEO

    # Until then, it counts for all others.
    monkeypatch.setattr(budgets, "LONGEST_CONTENTION_S", 0.0)
    with pytest.raises(BudgetExceeded) as failed:
        instance(1).run(film(output_path=str(tmp_path / "other.mp4")))
    assert failed.value.reserved_usd == A_VIDEO
    runner.run(film())

    assert creates(gateway) == 1
    assert reserved(base) == [(Stage.SETTLED, A_VIDEO)]


def test_a_reservation_that_may_yet_be_given_back_lets_a_retry_try_again(
    film: Callable[..., Any],
    gateway: Any,
    runner: Any,
    run_budget: Callable[[float], None],
    base: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run_budget(A_VIDEO)
    monkeypatch.setattr(budgets, "LONGEST_CONTENTION_S", 0.0)
    (budget,) = budgets.open_budgets(budgets_try(run_id=runner.instance.run_id))
    budget.reservations.mark(f"{'0' * 32}.{'0' * 16}.200000", "pending")

    with pytest.raises(BudgetExceeded) as failed:
        runner.run(film())

    assert not isinstance(failed.value, AirflowFailException)
    assert failed.value.retry_can_help
    assert creates(gateway) == 0
    assert reserved(base) == [(Stage.PENDING, A_VIDEO)]


def test_a_submit_and_its_sensor_settle_what_the_submit_reserved(
    gateway: Any, runner: Any, run_budget: Callable[[float], None], base: Path, tmp_path: Path
) -> None:
    run_budget(1)
    submit = WanSubmitVideoOperator(
        task_id="submit", model="wan2.7-t2v", prompt="A lighthouse.", parameters={"duration": 2}
    )
    wan_task_id = runner.run(submit)
    assert reserved(base) == [(Stage.BOUGHT, A_VIDEO)]
    sensor = instance()
    sensor.instance.all_xcoms = runner.instance.all_xcoms

    sensor.run(sensor_after(submit, wan_task_id, tmp_path))

    assert reserved(base) == [(Stage.SETTLED, A_VIDEO)]


def test_a_sensor_whose_wan_task_failed_gives_back_what_the_submit_reserved(
    gateway: Any, runner: Any, run_budget: Callable[[float], None], base: Path, tmp_path: Path
) -> None:
    run_budget(1)
    gateway.emulator.add_fault(on="create", kind="task_failed", code="InternalError", message="try again")
    submit = WanSubmitVideoOperator(
        task_id="submit", model="wan2.7-t2v", prompt="A lighthouse.", parameters={"duration": 2}
    )
    wan_task_id = runner.run(submit)
    sensor = instance()
    sensor.instance.all_xcoms = runner.instance.all_xcoms

    with pytest.raises(AirflowFailException):
        sensor.run(sensor_after(submit, wan_task_id, tmp_path))

    assert reserved(base) == []


def sensor_after(submit: WanSubmitVideoOperator, wan_task_id: str, folder: Path) -> WanVideoSensor:
    from airflow.sdk import DAG

    with DAG("films", schedule=None):
        before = WanSubmitVideoOperator(task_id=submit.task_id, model="wan2.7-t2v", prompt="A lighthouse.")
        sensor = WanVideoSensor(
            task_id="home", wan_task_id=wan_task_id, output_path=str(folder / "film.mp4"), deferrable=False
        )
        before >> sensor
    return sensor


def test_a_cost_that_is_not_known_is_refused(
    gateway: Any, runner: Any, run_budget: Callable[[float], None], base: Path
) -> None:
    run_budget(100)

    with pytest.raises(CostLimitExceeded, match="not known"):
        runner.run(WanSubmitVideoOperator(task_id="submit", model="wan9.9-t2v", prompt="x", parameters={"duration": 5}))

    assert creates(gateway) == 0
    assert reserved(base) == []


SETTINGS = {
    "no base": ({}, "Set [wan] budget_base"),
    "one machine's folder": (
        {"AIRFLOW__WAN__BUDGET_BASE": "/data", "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor"},
        "local_paths_are_shared = True",
    ),
    "one machine's output_base": (
        {"AIRFLOW__WAN__OUTPUT_BASE": "/data", "AIRFLOW__CORE__EXECUTOR": "LocalExecutor,KubernetesExecutor"},
        "KubernetesExecutor may run other tasks",
    ),
    "a pod": ({"AIRFLOW__WAN__BUDGET_BASE": "/data", "AIRFLOW_IS_K8S_EXECUTOR_POD": "True"}, "KubernetesExecutor"),
    "a relative path": ({"AIRFLOW__WAN__BUDGET_BASE": "data/budget"}, "absolute path"),
    "no number": (
        {"AIRFLOW__WAN__BUDGET_BASE": "/data", "AIRFLOW__WAN__MAX_COST_PER_DAG_RUN": "five"},
        "max_cost_per_dag_run must be a number",
    ),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_a_budget_that_cannot_be_kept_lets_nothing_be_bought(
    case: str, film: Callable[..., Any], gateway: Any, runner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, sentence = SETTINGS[case]
    for name, value in ({"AIRFLOW__WAN__MAX_COST_PER_DAG_RUN": "5"} | settings).items():
        monkeypatch.setenv(name, value)

    with pytest.raises((CostLimitExceeded, LedgerUnreadable), match=sentence.replace("[", r"\[")):
        runner.run(film())

    assert creates(gateway) == 0


def test_machines_that_share_the_folder_are_believed(
    film: Callable[..., Any],
    gateway: Any,
    runner: Any,
    run_budget: Callable[[float], None],
    base: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run_budget(1)
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")
    monkeypatch.setenv("AIRFLOW__WAN__LOCAL_PATHS_ARE_SHARED", "True")

    runner.run(film())

    assert len(reserved(base)) == 1


def test_the_reservations_are_in_the_folder_of_the_videos_by_default(
    film: Callable[..., Any], gateway: Any, runner: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AIRFLOW__WAN__MAX_COST_PER_DAG_RUN", "1")
    monkeypatch.setenv("AIRFLOW__WAN__OUTPUT_BASE", f"file://{tmp_path}/all%20videos/")

    runner.run(film())

    assert len(reserved(tmp_path / "all videos" / "wan_budget")) == 1


def test_without_a_budget_nothing_is_written(film: Callable[..., Any], gateway: Any, runner: Any, base: Path) -> None:
    runner.run(film())

    assert not base.exists()


def test_a_store_that_fails_lets_nothing_be_bought(
    film: Callable[..., Any], gateway: Any, runner: Any, run_budget: Callable[[float], None], base: Path
) -> None:
    run_budget(1)
    base.write_text("no folder")

    with pytest.raises(LedgerUnreadable, match="cannot be read or written"):
        runner.run(film())

    assert creates(gateway) == 0


def test_a_store_that_does_not_list_what_was_written_lets_nothing_be_bought(
    film: Callable[..., Any],
    gateway: Any,
    runner: Any,
    run_budget: Callable[[float], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from airflow_wan.purchases.reservation_store import FolderOnDisk

    run_budget(1)
    monkeypatch.setattr(FolderOnDisk, "names", lambda _: [])

    with pytest.raises(LedgerUnreadable, match="does not list what was just written"):
        runner.run(film())

    assert creates(gateway) == 0


def test_a_store_that_fails_after_the_purchase_loses_no_video(
    film: Callable[..., Any],
    gateway: Any,
    runner: Any,
    run_budget: Callable[[float], None],
    base: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    from airflow_wan.purchases.reservation_store import FolderOnDisk

    run_budget(A_VIDEO)
    add = FolderOnDisk.add

    def fail_later(self: FolderOnDisk, name: str, content: bytes) -> None:
        if ".bought" in name or ".settled" in name:
            raise OSError("the store is away")
        add(self, name, content)

    monkeypatch.setattr(FolderOnDisk, "add", fail_later)

    path = runner.run(film())

    assert Path(path).exists()
    assert "The video is not affected" in caplog.text
    # It still counts.
    assert reserved(base) == [(Stage.GRANTED, A_VIDEO)]


def test_a_frozen_try_gives_back_nothing_that_a_later_one_has_reserved(
    film: Callable[..., Any],
    gateway: Any,
    runner: Any,
    run_budget: Callable[[float], None],
    base: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run_budget(A_VIDEO)
    send, paths = buyer._Sender.send, []

    def frozen(self: Any) -> Any:
        monkeypatch.setattr(buyer._Sender, "send", send)
        paths.append(runner.run(film()))
        return send(self)

    monkeypatch.setattr(buyer._Sender, "send", frozen)
    with pytest.raises(LedgerUnreadable):
        runner.run(film())

    assert len(paths) == creates(gateway) == 1
    assert reserved(base) == [(Stage.SETTLED, A_VIDEO)]


@pytest.mark.skipif(not HAS_STATE_STORE, reason="in Variables, each try has a record of its own")
def test_a_place_that_is_none_makes_a_record_unreadable(
    film: Callable[..., Any], gateway: Any, runner: Any, run_budget: Callable[[float], None], tmp_path: Path
) -> None:
    run_budget(1)
    runner.run(film(), killed_before_success=True)
    record = runner.store.record
    for place in ("../../etc/cron.d/a.a.1", "/etc/a.a.1", "runs/../../a.a.1", "runs/a/b", 5, "runs//a.a.1"):
        runner.store.replace_record(record | {"order": record["order"] | {"reservations": [place]}})
        with pytest.raises(LedgerUnreadable, match="reservations"):
            runner.run(film(output_path=str(tmp_path / "other.mp4")))


def test_the_reservations_tell_people_whose_they_are(
    film: Callable[..., Any], gateway: Any, runner: Any, run_budget: Callable[[float], None], base: Path
) -> None:
    run_budget(1)

    runner.run(film())

    (pending,) = base.rglob("*.pending.json")
    (bought,) = base.rglob("*.bought.json")
    told = json.loads(pending.read_text())
    assert (told["dag_id"], told["task_id"], told["usd"]) == ("films", "animate", A_VIDEO)
    assert json.loads(bought.read_text()) == {"wan_task_id": gateway.emulator.ledger()[0]["task_id"]}
    assert "sk-" not in "".join(path.read_text() for path in base.rglob("*.json"))
