"""1, 20 and many mapped videos: each is bought once and comes whole to its path; what a video costs a worker."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import pytest
from cluster_stage import CLIPS, LONGEST_S, assert_bought_once_and_delivered

if TYPE_CHECKING:
    from cluster_stage import Stage


@pytest.mark.parametrize("number", [1, 20, CLIPS])
def test_each_of_the_mapped_clips_is_bought_once(stage: Stage, number: int, capsys: pytest.CaptureFixture[str]) -> None:
    legs, before, began = len(stage.legs_s()), spent(stage), time.monotonic()
    run = stage.start(f"{number} clips", [str(index) for index in range(number)])

    assert run.wait_for_end(LONGEST_S + 15 * number) == "success", run.log()

    took_s, held_s = time.monotonic() - began, stage.legs_s()[legs:]
    each = {name: (amount - before[name]) / number for name, amount in spent(stage).items()}
    with capsys.disabled():
        sys.stdout.write(
            f"\n{number} clips in {took_s:.0f} s, at most {run.tries()} tries. For each clip: "
            f"{sum(held_s) / number:.1f} worker-slot seconds in {len(held_s) / number:.1f} legs, "
            + ", ".join(f"{amount:.2f} {name}" for name, amount in each.items())
            + "\n"
        )
    assert_bought_once_and_delivered(run)


def spent(stage: Stage) -> dict[str, float]:
    """Return what has been used so far: CPU seconds, and requests to the gateway."""
    counts = stage.quick.http.get("/_emulator/counts").raise_for_status().json()
    reads, creates = [counts[kind] for kind in ("poll", "list")], counts["create"]
    return {
        "CPU seconds": stage.cluster.cpu_s(),
        "reads": sum(count["requests"] for count in reads),
        "reads answered 429": sum(count["throttled"] for count in reads),
        "creates answered 429": creates["throttled"],
    }
