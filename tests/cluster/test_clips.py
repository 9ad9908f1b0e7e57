"""1, 20 and many mapped videos: each is bought once and comes whole to its path; what a video costs a worker."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import pytest
from cluster_stage import assert_bought_once_and_delivered
from conftest import CLIPS

if TYPE_CHECKING:
    from cluster_stage import Stage


@pytest.mark.parametrize("number", [1, 20, CLIPS])
def test_each_of_the_mapped_clips_is_bought_once(stage: Stage, number: int, capsys: pytest.CaptureFixture[str]) -> None:
    legs, reads, cpu_s, began = len(stage.legs_s()), stage.reads(), stage.cluster.cpu_s(), time.monotonic()
    run = stage.start(f"{number} clips", [str(index) for index in range(number)])

    assert_bought_once_and_delivered(run)

    took_s = time.monotonic() - began
    held_s = stage.legs_s()[legs:]
    slots = f"{sum(held_s) / number:.1f} worker-slot seconds a clip in {len(held_s)} legs"
    reads_a_clip = f"{(stage.reads() - reads) / number:.1f} reads a clip"
    cpu = f"{(stage.cluster.cpu_s() - cpu_s) / number:.1f} CPU seconds a clip"
    with capsys.disabled():
        sys.stdout.write(
            f"\n{number} clips in {took_s:.0f} s: {slots}; {cpu}; {reads_a_clip}; at most {run.tries()} tries\n"
        )
