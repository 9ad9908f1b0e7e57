"""The S3 server, the gateway, Redis and PostgreSQL are away for a while, and come back."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest
from airflow_processes import wait_for
from cluster_stage import LONGEST_S, ClusterRun, Stage, assert_bought_once_and_delivered
from dag_runs import SLOW_S, Emulator
from relay import Relay

from airflow_wan.emulator.testing import FAST, RunningEmulator, Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

# Longer than the pauses between the attempts of one try, 15 to 20 s in all.
GATEWAY_AWAY_S = 60.0
REDIS_AWAY_S = 30.0
# Scheduler, DAG processor and triggerers end when the database has been away for 5 s.
DATABASE_AWAY_S = 10.0
SLOW = replace(FAST, pending_s=SLOW_S, running_s=SLOW_S)
UNCERTAIN = "and never received an answer: the video may be in the making, and may be billed."


@dataclass(frozen=True)
class Waits:
    """For each service, a run whose two videos wait, at a gateway of its own that is slow."""

    gateway_away: ClusterRun
    redis_away: ClusterRun
    database_away: ClusterRun
    relay: Relay


@pytest.fixture(scope="module")
def running() -> Iterator[ExitStack]:
    """Keep gateways and relays running until the end of this module."""
    with ExitStack() as stack:
        yield stack


def gateway(running: ExitStack, settings: Settings) -> Emulator:
    """Return a gateway of its own, because a fault hits the next request of anybody."""
    return Emulator(running.enter_context(RunningEmulator(settings)).base_url)


@pytest.fixture(scope="module")
def waits(stage: Stage, running: ExitStack) -> Waits:
    """Start them all at once, and wait until their videos wait."""
    slow = [gateway(running, SLOW) for _ in range(3)]
    relay = running.enter_context(Relay(slow[0].url))
    waits = Waits(
        stage.start("gateway away", ["0", "1"], on=slow[0], through=relay.url),
        stage.start("redis away", ["2", "3"], on=slow[1]),
        stage.start("database away", ["4", "5"], on=slow[2]),
        relay,
    )
    for run in (waits.gateway_away, waits.redis_away, waits.database_away):
        run.wait_until_all("deferred")
    return waits


def finish(run: ClusterRun) -> None:
    """Let the gateway of a run finish its videos, also those that it orders later."""
    run.emulator.advance(2 * SLOW_S)


def holds(emulator: Emulator) -> bool:
    """Return whether a fault of it holds an answer."""
    return any(row["holding"] for row in emulator.http.get("/_emulator/faults").json())


def release(emulator: Emulator) -> None:
    """Send the answers that are held, and hold no more."""
    emulator.http.delete("/_emulator/faults").raise_for_status()


def test_videos_survive_an_outage_of_the_store_and_of_the_gateway(
    stage: Stage, waits: Waits, running: ExitStack
) -> None:
    store = running.enter_context(Relay(stage.cluster.store_url))
    stage.cluster.connect_store("store_by_relay", store.url)
    holding = gateway(running, FAST)
    holding.add_fault("download", "hold", at_bytes=1_000, times=None)
    publishing = stage.start("publishing", ["red"], on=holding, store="store_by_relay")
    wait_for("a download under way", lambda: holds(holding), LONGEST_S)

    store.cut()
    waits.relay.cut()
    began = time.monotonic()
    release(holding)
    submitting = stage.start("submitting", ["blue"], on=waits.gateway_away.emulator, through=waits.relay.url)
    publishing.wait_for_log("The video is paid for", by="attempt=1.log", timeout=LONGEST_S)
    publishing.wait_for_log("which stays recorded and may be billed", by="attempt=2.log", timeout=LONGEST_S)
    submitting.wait_for_log("Submitting", timeout=LONGEST_S)
    time.sleep(max(0.0, GATEWAY_AWAY_S - (time.monotonic() - began)))
    store.mend()
    waits.relay.mend()
    finish(waits.gateway_away)
    wait_for("the other create", submitting.creates, LONGEST_S)
    finish(waits.gateway_away)

    for run in (publishing, waits.gateway_away, submitting):
        assert_bought_once_and_delivered(run)


def test_videos_survive_an_outage_of_redis(stage: Stage, waits: Waits) -> None:
    redis = stage.cluster.component("redis")

    redis.stop()
    finish(waits.redis_away)
    submitting = stage.start("submitting without redis", ["red", "blue"])
    time.sleep(REDIS_AWAY_S)
    redis.start()

    for run in (waits.redis_away, submitting):
        assert_bought_once_and_delivered(run)


def test_videos_survive_a_restart_of_the_database(stage: Stage, waits: Waits, running: ExitStack) -> None:
    gateways = {name: gateway(running, FAST) for name in ("dashscope", "apiyi")}
    for emulator in gateways.values():
        emulator.add_fault("create", "hold")
    submitting = [
        stage.start(f"submitting at {name}", ["red"], gateway=name, on=emulator) for name, emulator in gateways.items()
    ]
    wait_for("creates under way", lambda: all(holds(emulator) for emulator in gateways.values()), LONGEST_S)

    stage.cluster.stop_database()
    finish(waits.database_away)
    for emulator in gateways.values():
        release(emulator)
    time.sleep(DATABASE_AWAY_S)
    stage.cluster.start_database()

    assert_bought_once_and_delivered(waits.database_away)
    for run in submitting:
        end = run.wait_for_end()
        assert run.billed() == len(run.creates()) == 1
        if end == "success":
            assert run.keys() == ["0.mp4", "0.mp4.json"]
        else:
            assert UNCERTAIN in run.log()
