"""`make demo`: runs the example of a rapping portrait in a real Airflow, and prints the path of the mp4."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import sys
import time
from typing import Any

from demo_stage import AIRFLOW, DEMO, REPOSITORY, Gateway, confirm_spending, gateway, prepare_airflow

DAG_ID = "example_wan_rap"
# What the example requests.
MODEL, RESOLUTION, DURATION_S = "wan2.7-i2v", "720P", 10

_LOG = DEMO / "demo.log"
# A line of Airflow's log: time, [level], message, [logger], details.
_LOG_LINE = re.compile(r"^\S+ \[(?P<level>\w+) *\] (?P<message>.*?) *\[(?P<logger>[\w.]+)\]")
_TASK_STARTS = re.compile(r"\[DAG TEST\] starting task_id=(\w+)")


def main() -> None:
    """Run the demo."""
    started = time.monotonic()
    with gateway(pending_s=1, running_s=2) as wan:
        prepare_airflow(wan, poll_interval_s=1)
        if wan.is_real:
            confirm_spending(f"This sends a paid request: {MODEL}, {RESOLUTION}, {DURATION_S} s. {_cost_sentence(wan)}")
        print(
            f"Running the DAG {DAG_ID} against {'a real gateway' if wan.is_real else 'the emulator'} (full log: {_LOG})"
        )
        if not _run_dag(wan):
            sys.exit(f"The DAG run failed. See {_LOG}.")
    _report(_last_video(), wan, time.monotonic() - started)


def _cost_sentence(wan: Gateway) -> str:
    """Return a sentence about what the run costs, or would cost."""
    # Not at the top of the file: these load Airflow, and AIRFLOW_HOME must be set before.
    from airflow_wan.hooks.wan import WanHook  # noqa: PLC0415
    from airflow_wan.purchases.prices import RATES_AS_OF, estimate_cost  # noqa: PLC0415

    name = WanHook().account.gateway.name
    cost = estimate_cost(name, MODEL, RESOLUTION, DURATION_S)
    if cost is None:
        return f"The cost is not known: there is no rate for {MODEL} at {name}. Set it in [wan] usd_per_second."
    tense = "costs" if wan.is_real else "would have cost"
    source = f"[wan] usd_per_second, or the list prices of {RATES_AS_OF}"
    return f"At {name} it {tense} about {cost:.2f} USD. This is an estimate; its source is {source}."


def _run_dag(wan: Gateway) -> bool:
    """Run the DAG with `airflow dags test`, and print what its log says about the video."""
    command = [str(AIRFLOW), "dags", "test", DAG_ID, "--conf", json.dumps(wan.conf)]
    with (
        _LOG.open("w") as log,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=REPOSITORY
        ) as process,
    ):
        try:
            for line in process.stdout or ():
                log.write(line)
                _show(line)
        except BaseException:
            process.terminate()
            raise
    return process.returncode == 0


def _show(line: str) -> None:
    if task := _TASK_STARTS.search(line):
        print(f"  {task[1]}", flush=True)
    elif (entry := _LOG_LINE.match(line)) and "airflow_wan" in entry["logger"] and entry["level"] != "debug":
        print(f"    {entry['message']}", flush=True)


def _last_video() -> dict[str, Any]:
    """Return the metadata that the sensor has pushed to XCom."""
    with sqlite3.connect(DEMO / "airflow" / "airflow.db") as database:
        query = "SELECT value FROM xcom WHERE dag_id = ? AND key = 'wan_video' ORDER BY timestamp DESC LIMIT 1"
        (value,) = database.execute(query, (DAG_ID,)).fetchone()
    video: dict[str, Any] = json.loads(value)
    return video


def _report(video: dict[str, Any], wan: Gateway, took_s: float) -> None:
    sound = "with sound" if video["has_audio"] else "without sound"
    print(
        f"\nDuration  {video['duration_s']:g} s, {video['width']} x {video['height']} px, {sound}"
        f"\nSize      {video['bytes'] / 1e6:.1f} MB"
        f"\nCost      {'' if wan.is_real else 'nothing. '}{_cost_sentence(wan)}"
        f"\nTook      {took_s:.0f} s"
        f"\nVideo     {video['path']}"
    )


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("Interrupted.")
