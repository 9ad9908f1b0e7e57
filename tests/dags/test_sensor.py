"""WanVideoSensor in DAGs."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from airflow.sdk import DAG

from airflow_wan.operators.wan import WanSubmitVideoOperator
from airflow_wan.sensors.wan import WanVideoSensor

if TYPE_CHECKING:
    from airflow_wan.emulator.testing import RunningEmulator

MODES: dict[str, dict[str, Any]] = {
    "deferrable": {},
    "poke": {"deferrable": False, "mode": "poke"},
    "reschedule": {"deferrable": False, "mode": "reschedule"},
}


@pytest.mark.takes_time
def test_every_mode_waits_for_one_submit_and_brings_its_own_copy_home(
    run_dag: Any, watch_film: Any, wan_emulator: RunningEmulator
) -> None:
    with DAG("sensor_modes", schedule=None) as dag:
        submit = WanSubmitVideoOperator(
            task_id="submit",
            model="wan2.7-i2v",
            prompt="a kite",
            media=[{"type": "first_frame", "url": "https://your-cdn.com/rap.png"}],
            parameters={"duration": 2},
        )
        for name, mode in MODES.items():
            WanVideoSensor(task_id=name, wan_task_id=submit.output, **mode)

    run = run_dag(dag)

    assert run.state == "success"
    (bill,) = wan_emulator.ledger()
    assert len({run.xcom(name) for name in MODES}) == len(MODES)
    for name in MODES:
        assert watch_film(run.xcom(name)).seconds == 2.0
        assert run.xcom(name, key="wan_video")["wan_task_id"] == bill["task_id"] == run.xcom("submit")


def test_a_task_nobody_knows_ends_every_mode_without_a_retry(run_dag: Any, wan_emulator: RunningEmulator) -> None:
    arguments = {"retries": 2, "retry_delay": timedelta(0)}
    with DAG("lost", schedule=None, default_args=arguments) as dag:
        for name, mode in MODES.items():
            WanVideoSensor(task_id=name, wan_task_id="11111111-2222-4333-8444-555555555555", **mode)

    run = run_dag(dag)

    assert run.state == "failed"
    for name in MODES:
        assert isinstance(run.error(name), AirflowFailException)
        assert "11111111-2222-4333-8444-555555555555" in str(run.error(name))
        assert (run.task_state(name), run.tries(name)) == ("failed", 1)
    assert wan_emulator.requests() == []
