"""A try is frozen, wherever, for as long as another try takes: at most one video is bought, and no record is lost.

The frozen try and the later one run in one thread: at the point where the first is frozen, the later one runs as far as
it comes, and then the first goes on. Airflow gives the later try another id, as the real one does.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest
import tenacity
from hypothesis import event, given
from hypothesis import strategies as st
from task_runner import HAS_STATE_STORE, TryStateStore

from airflow_wan.api.client import WanClient
from airflow_wan.emulator.testing import FAST
from airflow_wan.operators.wan import WanImageToVideoOperator, WanSubmitVideoOperator
from airflow_wan.purchases import buyer
from airflow_wan.purchases.record import Intent, Purchase

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from airflow_wan.emulator.testing import MediaServer, RunningEmulator


class Killed(BaseException):
    """The process ends here."""


@dataclass
class Freezer:
    """Counts the points where the first try can be frozen, and freezes it at one of them.

    :param at: the number of that point; None to count only.
    :param meanwhile: what happens while it is frozen.
    :param passed: the points so far, named after what is before or after them.
    """

    at: int | None = None
    meanwhile: Callable[[], None] = lambda: None
    passed: list[str] = field(default_factory=list)
    frozen: bool = False

    @property
    def points(self) -> int:
        return len(self.passed)

    def pass_point(self, name: str) -> None:
        if self.frozen:
            return  # the later try runs, or has run
        if self.points == self.at:
            self.frozen = True
            self.meanwhile()
        self.passed.append(name)

    def put_before_and_after(self, patch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
        function = getattr(owner, name)

        def with_points(*args: Any, **kwargs: Any) -> Any:
            self.pass_point(name)
            result = function(*args, **kwargs)
            self.pass_point(name)
            return result

        patch.setattr(owner, name, with_points)


class Stage:
    """One task instance, its gateway, and what both have of it."""

    def __init__(self, emulator: RunningEmulator, runner: Any, folder: Path, first_frame: str) -> None:
        self.emulator, self.runner, self.folder, self.first_frame = emulator, runner, folder, first_frame
        self.outcomes: list[str] = []

    def reset(self, *, has_state_store: bool) -> None:
        self.emulator.reset()
        self.emulator.clear_faults()
        self.runner.has_state_store = has_state_store
        self.runner.store.rows.clear()
        self.outcomes = []
        for path in self.folder.iterdir():
            path.unlink()

    def run_try(self, *, killed_after_buying: bool = False, **arguments: Any) -> None:
        """Run a try as far as it comes."""
        defaults: dict[str, Any] = {
            "task_id": "animate",
            "prompt": "The clouds drift.",
            "first_frame": self.first_frame,
            "duration": 2,
            "output_path": str(self.folder / "film.mp4"),
            "poll_interval": 0.02,
            "deferrable": False,
        }
        task = WanImageToVideoOperator(**defaults | arguments)
        try:
            with pytest.MonkeyPatch.context() as patch:
                if killed_after_buying:
                    patch.setattr("airflow_wan.operators.wan.watch_for", _die)
                self.runner.run(task)
            self.outcomes.append("success")
        except Killed:
            self.outcomes.append("killed")
        except Exception as error:  # noqa: BLE001 - which one it is, the test asks
            self.outcomes.append(str(error))

    def run_frozen(self, freezer: Freezer, **arguments: Any) -> None:
        """Run the first try, with points around all that it asks Airflow and the gateway, and around its media."""
        from airflow.sdk.execution_time import task_runner

        with pytest.MonkeyPatch.context() as patch:
            comms = task_runner.SUPERVISOR_COMMS
            for owner, name in (
                (WanSubmitVideoOperator, "make_offer"),
                (WanClient, "create"),
                (WanClient, "cancel"),
                (TryStateStore, "get"),
                (TryStateStore, "set"),
                (TryStateStore, "delete"),
                (comms, "send"),
                (tenacity.nap.time, "sleep"),
            ):
                freezer.put_before_and_after(patch, owner, name)
            self.run_try(**arguments)

    @property
    def created(self) -> list[str]:
        return [row["task_id"] for row in self.emulator.ledger()]

    @property
    def billed(self) -> list[str]:
        return [row["task_id"] for row in self.emulator.ledger() if row["billed"]]


def _die(*_: Any, **__: Any) -> None:
    raise Killed


@pytest.fixture(params=["apiyi", "dashscope"])
def stage(
    request: pytest.FixtureRequest,
    wan_emulator_for: Callable[..., RunningEmulator],
    connect: Callable[..., None],
    media: MediaServer,
    runner: Any,
    no_pauses: None,
    tmp_path: Path,
) -> Stage:
    emulator = wan_emulator_for(replace(FAST, pending_s=0.0, running_s=0.0))
    connect(emulator.base_url, gateway=request.param)
    return Stage(emulator, runner, tmp_path, media.url("frame.png"))


LEDGERS = ["variable", *(["task state store"] if HAS_STATE_STORE else [])]


@pytest.mark.parametrize("ledger", LEDGERS)
@pytest.mark.parametrize("later", ["brings its video home", "is killed after it has bought"])
@pytest.mark.parametrize("throttled", [False, True], ids=["anywhere", "between two create requests"])
def test_wherever_a_try_is_frozen_one_video_is_bought_and_its_record_stays(
    ledger: str, later: str, throttled: bool, stage: Stage
) -> None:
    has_store = ledger != "variable"

    def reset() -> None:
        stage.reset(has_state_store=has_store)
        if throttled:
            stage.emulator.add_fault(on="create", kind="throttled")

    reset()
    counting = Freezer()
    stage.run_frozen(counting, output_path=str(stage.folder / "counted.mp4"))
    assert stage.outcomes == ["success"]

    points = range(counting.points)
    if throttled:
        assert counting.passed.count("create") == 3  # after the first, the refusal is raised
        points = range(counting.passed.index("create") + 1, counting.points - counting.passed[::-1].index("create"))
        assert "sleep" in counting.passed[points.start : points.stop]
    for point in points:
        reset()
        killed = later != "brings its video home"
        bought: list[str] = []

        def meanwhile(killed: bool = killed, bought: list[str] = bought) -> None:
            before = set(stage.created)
            stage.run_try(killed_after_buying=killed)
            bought += set(stage.created) - before

        stage.run_frozen(Freezer(point, meanwhile))

        assert len(stage.created) <= 1, f"{point=} {stage.outcomes}"
        assert len(stage.outcomes) == 2
        if bought and killed:  # the later try's record is what the next one goes on with
            assert stage.runner.store.record["wan_task_id"] == bought[0], f"{point=}"
        stage.run_try()  # one more try, with nothing frozen
        assert len(stage.created) <= 1, f"{point=} {stage.outcomes}"
        arrived = (stage.folder / "film.mp4").exists()
        # Only where the later try found the intent of the frozen one does a person have to look.
        assert arrived or any("may be in the making" in outcome for outcome in stage.outcomes), f"{point=}"


@given(
    before=st.sampled_from(["nothing", "a task that failed", "another prompt"]),
    ledger=st.sampled_from(LEDGERS),
    create=st.sampled_from([None, "unauthorized", "throttled", "drop_connection", "task_failed"]),
    killed=st.booleans(),
    fraction=st.floats(0, 1),
)
@pytest.mark.usefixtures("no_pauses")
def test_a_try_that_replaces_another_purchase_is_no_exception(
    before: str, ledger: str, create: str | None, killed: bool, fraction: float, stage: Stage
) -> None:
    """As above, with a purchase that is replaced, and with faults of the gateway while the later try runs."""

    def prepare() -> None:
        stage.reset(has_state_store=ledger != "variable")
        if before == "a task that failed":
            stage.emulator.add_fault(on="create", kind="task_failed", code="InternalError", message="try again")
            stage.run_try(killed_after_buying=True)
        elif before == "another prompt":
            stage.run_try(prompt="Snow falls.", killed_after_buying=True)

    arguments = {"on_changed_request": "resubmit"}
    prepare()
    counting = Freezer()
    stage.run_frozen(counting, **arguments)
    prepare()
    old = set(stage.created)

    def meanwhile() -> None:
        if create is not None:
            code = {"code": "InternalError", "message": "try again"} if create == "task_failed" else {}
            stage.emulator.add_fault(on="create", kind=create, **code)
        stage.run_try(killed_after_buying=killed, **arguments)
        stage.emulator.clear_faults()

    stage.run_frozen(Freezer(int(fraction * (counting.points - 1)), meanwhile), **arguments)
    for _ in range(2):
        stage.run_try(**arguments)

    event(stage.outcomes[0][:40])
    assert len(set(stage.billed) - old) <= 1, stage.outcomes


def test_a_try_whose_end_airflow_has_recorded_sends_nothing(stage: Stage) -> None:
    """Marked as failed while it was frozen: no other try has begun, so its id is still known."""
    stage.reset(has_state_store=HAS_STATE_STORE)

    def marked_as_failed() -> None:
        stage.runner.state = "failed"

    freezer = Freezer(at=0, meanwhile=marked_as_failed)
    with pytest.MonkeyPatch.context() as patch:
        freezer.put_before_and_after(patch, WanSubmitVideoOperator, "make_offer")
        stage.run_try()

    assert stage.created == []
    assert "given up this try" in stage.outcomes[0]
    assert stage.runner.store.record == {}


@pytest.mark.parametrize("answer", [ConnectionError("the API server is away"), None])
def test_nothing_is_sent_when_airflow_cannot_say_whether_the_try_counts(answer: Any, stage: Stage) -> None:
    from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
    from airflow.sdk.execution_time import task_runner
    from airflow.sdk.execution_time.comms import ErrorResponse

    stage.reset(has_state_store=HAS_STATE_STORE)
    send = task_runner.SUPERVISOR_COMMS.send

    def answer_with_an_error(message: Any) -> Any:
        if type(message).__name__ == "ValidateInletsAndOutlets":
            detail = {"status_code": 503}
            raise answer or AirflowRuntimeError(ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail=detail))
        return send(message)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(task_runner.SUPERVISOR_COMMS, "send", answer_with_an_error)
        stage.run_try()
    assert stage.created == []
    assert "cannot say whether this try still counts" in stage.outcomes[0]

    stage.run_try()
    assert stage.outcomes[1] == "success"


def test_a_paid_id_that_meets_another_trys_record_is_told_and_replaces_nothing(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    from airflow_wan.purchases.ledger import open_ledger

    stage.reset(has_state_store=HAS_STATE_STORE)
    stage.run_try(killed_after_buying=True)
    context: Any = {"ti": stage.runner.instance, "task_state_store": None}
    ledger = open_ledger(context | ({"task_state_store": stage.runner.store} if HAS_STATE_STORE else {}))
    others = ledger.read()
    assert isinstance(others, Purchase)
    intent = Intent(**{name: getattr(others.intent, name) for name in Intent.__slots__} | {"nonce": "mine"})

    buyer.write_down(Purchase(intent, "paid-and-mine", None, 1_800_000_000.0), ledger)

    assert ledger.read() == others
    assert "paid-and-mine" in caplog.text


def test_an_intent_of_which_nothing_was_sent_is_taken_back_after_an_outage(stage: Stage) -> None:
    """Airflow is away between the intent and the question, and for two more requests."""
    from airflow.sdk.execution_time import task_runner

    stage.reset(has_state_store=False)
    send = task_runner.SUPERVISOR_COMMS.send
    away: list[int] = []

    def send_or_fail(message: Any) -> Any:
        answer_is_lost = type(message).__name__ == "GetTaskStates" and not away
        if answer_is_lost or 0 < len(away) < 3:
            away.append(1)
            raise ConnectionError("the API server is away")
        return send(message)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(task_runner.SUPERVISOR_COMMS, "send", send_or_fail)
        stage.run_try()
    assert stage.created == []
    assert stage.runner.store.record == {}

    stage.run_try()
    assert stage.outcomes[1] == "success"
