"""WanVideoSensor in DAGs."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowSensorTimeout
from airflow.providers.common.compat.version_compat import get_base_airflow_version_tuple
from airflow.sdk import DAG, task

from airflow_wan.api.requests import VideoRequest
from airflow_wan.exceptions import VideoRejected, VideoWaitTimeout
from airflow_wan.operators.wan import WanGenerateVideoOperator, WanSubmitVideoOperator
from airflow_wan.sensors.wan import WanVideoSensor

if TYPE_CHECKING:
    from airflow_wan.emulator.testing import RunningEmulator

AIRFLOW = get_base_airflow_version_tuple()
MODES: dict[str, dict[str, Any]] = {
    "deferrable": {},
    "poke": {"deferrable": False, "mode": "poke"},
    "reschedule": {"deferrable": False, "mode": "reschedule"},
}
if AIRFLOW < (3, 1):  # whose dag.test() gives any sensor the date of its first reschedule as text
    del MODES["reschedule"]


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
        video = run.xcom(name, key="wan_video")
        assert video["wan_task_id"] == bill["task_id"] == run.xcom("submit")
        # What the submit ordered has reached the sensor.
        assert (video["model"], video["estimated_cost_usd"]) == ("wan2.7-i2v", 0.168)
        record = json.loads(Path(f"{video['path']}.json").read_text())
        assert record["request"]["input"]["prompt"] == "a kite"
        assert {"intent", "submitted"} <= record["times"].keys()


def test_a_sensor_hands_on_the_same_facts_as_the_one_task_operator(run_dag: Any, wan_emulator: RunningEmulator) -> None:
    order: dict[str, Any] = {
        "model": "wan2.7-i2v",
        "prompt": "a kite",
        "media": [{"type": "first_frame", "url": "https://your-cdn.com/rap.png"}],
        "parameters": {"duration": 2, "seed": 7},
    }
    with DAG("both_ways", schedule=None) as dag:
        WanGenerateVideoOperator(task_id="one_task", **order)
        submit = WanSubmitVideoOperator(task_id="submit", **order)
        WanVideoSensor(task_id="wait", wan_task_id=submit.output)

    run = run_dag(dag)

    one, two = (run.xcom(name, key="wan_video") for name in ("one_task", "wait"))
    own = {"path", "wan_task_id", "request_id", "sha256", "bytes"}
    assert {name: value for name, value in one.items() if name not in own} == {
        name: value for name, value in two.items() if name not in own
    }
    records = [json.loads(Path(f"{video['path']}.json").read_text()) for video in (one, two)]
    for part in ("request", "fingerprint", "sources", "generation", "cost"):
        assert records[0][part] == records[1][part], part
    for record in records:
        assert {"intent", "submitted", "seen_succeeded", "downloaded", "published"} <= record["times"].keys()


def test_a_mapped_sensor_finds_the_order_of_its_own_submit(run_dag: Any, wan_emulator: RunningEmulator) -> None:
    with DAG("mapped_pairs", schedule=None) as dag:
        submit = WanSubmitVideoOperator.partial(
            task_id="submit",
            model="wan2.7-i2v",
            media=[{"type": "first_frame", "url": "https://your-cdn.com/rap.png"}],
            parameters={"duration": 2},
        ).expand(prompt=["a kite", "a balloon"])

        @task
        def the_other_way_round(wan_task_ids: Any) -> list[str]:
            return list(reversed(list(wan_task_ids)))

        WanVideoSensor.partial(task_id="wait").expand(wan_task_id=the_other_way_round(submit.output))

    run = run_dag(dag)

    prompts = [
        json.loads(Path(f"{run.xcom('wait', map_index=index)}.json").read_text())["generation"]["prompt"]
        for index in (0, 1)
    ]
    assert prompts == ["a balloon", "a kite"]


def test_a_sensor_that_is_not_mapped_says_what_to_do_about_a_mapped_submit(run_dag: Any) -> None:
    with DAG("one_sensor_for_two", schedule=None) as dag:
        submit = WanSubmitVideoOperator.partial(
            task_id="submit", model="wan2.7-t2v", parameters={"duration": 2}
        ).expand(prompt=["a kite", "a balloon"])
        WanVideoSensor(task_id="wait", wan_task_id=submit.output, retries=3, retry_delay=timedelta(0))

    run = run_dag(dag)

    assert "expand(wan_task_id=submit.output)" in str(run.error("wait"))
    assert run.tries("wait") == 1


def test_a_video_that_is_not_what_the_submit_ordered_is_not_accepted(
    run_dag: Any, wan_emulator: RunningEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The submit writes 7 s down where it asks the gateway for 2, so that the gateway makes what was not ordered.
    monkeypatch.setattr(VideoRequest, "seconds", property(lambda _: 7))
    with DAG("another_length", schedule=None) as dag:
        submit = WanSubmitVideoOperator(
            task_id="submit",
            model="wan2.7-i2v",
            prompt="a kite",
            media=[{"type": "first_frame", "url": "https://your-cdn.com/rap.png"}],
            parameters={"duration": 2},
        )
        WanVideoSensor(task_id="wait", wan_task_id=submit.output)

    run = run_dag(dag)

    assert run.task_state("wait") == "failed"
    error = run.error("wait")
    assert isinstance(error, VideoRejected)
    assert "7 s" in str(error)


def test_nothing_secret_is_in_what_a_submit_leaves_for_the_sensor(
    run_dag: Any, wan_emulator: RunningEmulator, wan_api_key: str
) -> None:
    with DAG("secrets", schedule=None) as dag:
        WanSubmitVideoOperator(
            task_id="submit",
            model="wan2.7-i2v",
            prompt="a kite",
            media=[{"type": "first_frame", "url": "https://your-cdn.com/rap.png?Signature=TOPSECRET&Expires=1"}],
            parameters={"duration": 2},
        )

    run = run_dag(dag)

    left = json.dumps(run.xcom("submit", key="wan_order"))
    assert "rap.png" in left
    for secret in ("TOPSECRET", "Expires", wan_api_key):
        assert secret not in left


def test_a_task_nobody_knows_is_asked_for_until_the_timeout_which_ends_every_mode_without_a_retry(
    run_dag: Any, wan_emulator: RunningEmulator
) -> None:
    arguments = {"retries": 2, "retry_delay": timedelta(0)}
    with DAG("lost", schedule=None, default_args=arguments) as dag:
        for name, mode in MODES.items():
            WanVideoSensor(task_id=name, wan_task_id="11111111-2222-4333-8444-555555555555", timeout=1, **mode)

    run = run_dag(dag)

    assert run.state == "failed"
    for name in MODES:
        assert isinstance(run.error(name), AirflowSensorTimeout)
        assert isinstance(run.error(name), VideoWaitTimeout)
        assert "11111111-2222-4333-8444-555555555555" in str(run.error(name))
        assert (run.task_state(name), run.tries(name)) == ("failed", 1)
    assert wan_emulator.requests() == []
