"""Whatever fails and wherever the worker dies: one wish is billed at most once, and a bought video lands.

A state machine draws, for each try of one task instance, what the gateway does wrong and where the worker is killed.
The operator, the ledger, the client and the wire are real; the gateway is the emulator with its faults.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from hypothesis import event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from airflow_wan.api.client import WanClient
from airflow_wan.emulator.testing import FAST
from airflow_wan.operators.wan import WanImageToVideoOperator
from airflow_wan.videos import sidecar
from airflow_wan.videos.destination import Destination

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from airflow_wan.emulator.testing import MediaServer, RunningEmulator

READ_TIMEOUT = 0.25
PATIENT_READ_TIMEOUT = 30.0
"""s; with the trouble over, no answer is late, however busy the machine."""


class Killed(BaseException):
    """The worker gets SIGKILL: nothing that comes after runs."""


CREATE_FAULTS: list[dict[str, Any] | None] = [
    None,
    {"kind": "drop_connection"},
    {"kind": "drop_connection", "accepted": False},
    {"kind": "bad_gateway"},
    {"kind": "bad_gateway", "accepted": False},
    {"kind": "gateway_timeout"},
    {"kind": "delay", "delay_s": 2 * READ_TIMEOUT},
    {"kind": "html"},
    {"kind": "malformed_json"},
    {"kind": "server_error"},
    {"kind": "unavailable", "accepted": True},
    {"kind": "unauthorized"},
    {"kind": "throttled", "retry_after": 0, "times": 2},
    {"kind": "throttled", "times": 20},
    {"kind": "insufficient_balance"},
    {"kind": "task_failed", "code": "InternalError", "message": "try again"},
    {"kind": "task_failed", "code": "DataInspectionFailed", "message": "inappropriate content"},
    {"kind": "task_canceled"},
]
POLL_FAULTS: list[dict[str, Any] | None] = [
    None,
    {"kind": "drop_connection", "times": 2},
    {"kind": "server_error", "times": 3},
    {"kind": "malformed_json"},
    {"kind": "html"},
    {"kind": "unauthorized"},
    {"kind": "unauthorized", "times": 5},
    {"kind": "throttled"},
    {"kind": "unknown_status", "word": "THINKING"},
    {"kind": "delay", "delay_s": 2 * READ_TIMEOUT},
]
DOWNLOAD_FAULTS: list[dict[str, Any] | None] = [
    None,
    *(
        {"kind": kind, "times": times}
        for kind in ("truncated", "reset", "wrong_length", "empty", "html", "expired", "forbidden", "server_error")
        for times in (1, 20)
    ),
]
LIST_FAULTS: list[dict[str, Any] | None] = [None, {"kind": "server_error"}, {"kind": "drop_connection"}]
DEATHS = [
    None,
    "before the intent is written",
    "after the intent is written",
    "after the answer",
    "after the id is written",
    "before the file is published",
    "after the file is published",
    "before the record is left",
    "after the record is left",
    "before Airflow records the success",
]


class OneWish(RuleBasedStateMachine):
    """One task instance, try after try, under default policies."""

    def __init__(
        self, emulator: RunningEmulator, connect: Callable[[float], None], runner: Any, folder: Path, first_frame: str
    ) -> None:
        super().__init__()
        self.connect = connect
        connect(READ_TIMEOUT)
        self.emulator, self.runner = emulator, runner
        self.output_path = folder / "film.mp4"
        self.first_frame = first_frame
        self.done = False
        emulator.reset()
        emulator.clear_faults()
        runner.store.rows.clear()
        for path in folder.iterdir():
            path.unlink()

    # One rule, which is always enabled: how a try ends may depend on how busy the machine is, what is drawn may not.
    @rule(
        create=st.sampled_from(CREATE_FAULTS),
        poll=st.sampled_from(POLL_FAULTS),
        download=st.sampled_from(DOWNLOAD_FAULTS),
        listing=st.sampled_from(LIST_FAULTS),
        death=st.sampled_from(DEATHS),
        deferrable=st.booleans(),
    )
    def one_try(self, create: Any, poll: Any, download: Any, listing: Any, death: str | None, deferrable: bool) -> None:
        if self.done:
            self._run(deferrable)  # cleared after its success: the video is there already, and handed on
            self._check()
            return
        for on, fault in (("create", create), ("poll", poll), ("download", download), ("list", listing)):
            if fault is not None:
                self.emulator.add_fault(on=on, **fault)
        with pytest.MonkeyPatch.context() as patch:
            _kill(patch, self.runner.store, death)
            try:
                self._run(deferrable, killed_before_success=death == "before Airflow records the success")
                self.done = death != "before Airflow records the success"
            except Killed:
                event("killed")
            except Exception as error:  # noqa: BLE001 - which one it is, the outcome tells
                event(type(error).__name__)
        self.emulator.clear_faults()
        self._check()

    def _run(self, deferrable: bool, **options: Any) -> str:
        task = WanImageToVideoOperator(
            task_id="animate",
            prompt="The clouds drift.",
            first_frame=self.first_frame,
            duration=2,
            output_path=str(self.output_path),
            poll_interval=0.02,
            deferrable=deferrable,
        )
        return str(self.runner.run(task, **options))

    def _billed(self) -> int:
        return sum(row["billed"] for row in self.emulator.ledger())

    def _check(self) -> None:
        assert self._billed() <= 1
        # Whatever is at the path is a whole video, and nothing else is left in its folder.
        allowed = {"film.mp4", "film.mp4.json", "film.rejected.mp4"}
        for path in self.output_path.parent.iterdir():
            assert path.name in allowed or path.suffix == ".part"
        if self.output_path.exists():
            assert self.output_path.read_bytes()[4:8] == b"ftyp"

    def teardown(self) -> None:
        """With the trouble over, what was bought lands; what is uncertain stops and says so."""
        self.connect(PATIENT_READ_TIMEOUT)
        record = self.runner.store.record
        for _ in range(3):
            if self.done:
                break
            try:
                self._run(deferrable=False)
                self.done = True
            except AirflowFailException as error:
                assert "may be in the making" in str(error)  # noqa: PT017
                assert record["state"] == "intent"
                assert self.emulator.gateway == "apiyi" or self._billed() == 0
                event("stopped: it cannot be told whether the video was bought")
                return
            finally:
                self._check()
        assert self.done
        assert self._billed() == 1
        assert self.output_path.exists()


def _kill(patch: pytest.MonkeyPatch, store: Any, death: str | None) -> None:
    """Have the worker die before or after a step of the journey."""
    steps: dict[str, tuple[Any, str, Callable[..., bool]]] = {
        "the intent is written": (store, "set", lambda _key, value, **_: value["state"] == "intent"),
        "the answer": (WanClient, "create", lambda *_: True),
        "the id is written": (store, "set", lambda _key, value, **_: value["state"] == "submitted"),
        "the file is published": (Destination, "publish", lambda *_: True),
        "the record is left": (sidecar, "write_sidecar", lambda *_: True),
    }
    when, _, step = (death or "").partition(" ")
    if step not in steps:
        return
    owner, name, is_the_one = steps[step]
    function = getattr(owner, name)

    def dying(*args: Any, **kwargs: Any) -> Any:
        if not is_the_one(*args, **kwargs):
            return function(*args, **kwargs)
        if when == "after":
            function(*args, **kwargs)
        raise Killed

    patch.setattr(owner, name, dying)


@pytest.mark.parametrize(
    ("gateway_name", "budget_usd"), [("apiyi", None), ("dashscope", None), ("dashscope", 0.2)], ids=str
)
@pytest.mark.usefixtures("no_pauses")
def test_one_wish_is_billed_at_most_once_and_a_bought_video_lands(
    gateway_name: str,
    budget_usd: float | None,
    wan_emulator_for: Callable[..., RunningEmulator],
    connect: Callable[..., None],
    media: MediaServer,
    runner: Any,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if budget_usd is not None:
        # Room for one video: whatever an unlucky try leaves behind must not keep the next one out.
        monkeypatch.setenv("AIRFLOW__WAN__MAX_COST_PER_MONTH", str(budget_usd))
        monkeypatch.setattr("airflow_wan.purchases.budget.LONGEST_CONTENTION_S", 0.0)
    # Running for a moment, so that a deferrable task still has something to wait for.
    emulator = wan_emulator_for(replace(FAST, pending_s=0.0, running_s=0.05))
    emulator.gateway = gateway_name  # type: ignore[attr-defined]

    def connect_with(read_timeout: float) -> None:
        connect(emulator.base_url, gateway=gateway_name, read_timeout=read_timeout)

    def wish() -> OneWish:
        monkeypatch.setenv("AIRFLOW__WAN__BUDGET_BASE", str(tmp_path_factory.mktemp("budget")))
        return OneWish(emulator, connect_with, runner, tmp_path, media.url("frame.png"))

    run_state_machine_as_test(
        wish,
        settings=settings(stateful_step_count=4),
    )
