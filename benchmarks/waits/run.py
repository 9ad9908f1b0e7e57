"""Compares ways to wait for videos against one account at the emulator: reads, 429s, how late each video is noticed.

Every way waits in a process of its own, against an emulator of its own with the limits of a DashScope account.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import fast_clock
import httpx

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from page import Table, machine, write_section  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CREATE = "/api/v1/services/aigc/video-generation/video-synthesis"
VIDEO = {"model": "wan2.7-t2v", "input": {"prompt": "a kite"}, "parameters": {"resolution": "720P", "duration": 5}}
# Triggerers of Airflow take this long to find that one of them is dead: [triggerer] triggerer_health_check_threshold.
TAKEN_OVER_AFTER_S = 30.0
KILLED_AFTER_S = 90.0
SHARE = {"AIRFLOW__WAN__SHARE_OF_LIMITS": "0.5"}


@dataclass(frozen=True)
class Case:
    """One way to wait, for some videos.

    :param durations: the emulator's spread of durations.
    :param running: how many tasks are in process at a time; None for all.
    :param has_list: whether the gateway has a list of tasks.
    :param times_faster: how many times faster the clock of gateway and waits runs.
    :param limit_s: seconds of that clock after which it is stopped.
    """

    way: str
    waits: int
    durations: str = "spread"
    running: int | None = None
    has_list: bool = True
    times_faster: float = 1.0
    limit_s: float = 3600.0

    @property
    def title(self) -> str:
        """What the table calls it."""
        return self.way if self.has_list else f"{self.way}, single reads only"


@dataclass
class Outcome:
    """What came of a case; of a video that was not noticed, the lag is the time until the end of the case."""

    case: Case
    lags_s: list[float]
    counts: dict[str, dict[str, int]]
    told: dict[str, Any]

    @property
    def reads(self) -> int:
        """Requests of both kinds."""
        return self.counts["poll"]["requests"] + self.counts["list"]["requests"]

    @property
    def throttled(self) -> int:
        """Reads that were answered 429."""
        return self.counts["poll"]["throttled"] + self.counts["list"]["throttled"]

    @property
    def mean_lag_s(self) -> float:
        """How late a video was noticed, on average."""
        return statistics.fmean(self.lags_s)

    @property
    def p95_lag_s(self) -> float:
        """How late 95 of 100 videos were noticed at most."""
        return sorted(self.lags_s)[math.ceil(0.95 * len(self.lags_s)) - 1]

    @property
    def is_complete(self) -> bool:
        """Whether every video was noticed."""
        return len(self.told["noticed"]) == self.case.waits


@dataclass
class _Gateway:
    """An emulator in a process of its own."""

    case: Case
    environment: dict[str, str]
    key: str = field(default_factory=lambda: f"sk-{secrets.token_hex(16)}")

    def __enter__(self) -> Self:
        command = [sys.executable, str(HERE / "gateway.py"), self.case.durations]
        command += ["--running", str(self.case.running)] if self.case.running else []
        command += [] if self.case.has_list else ["--without-list"]
        self._process = subprocess.Popen(
            command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self._process.stdout is not None
        self.base_url = self._process.stdout.readline().strip()
        if not self.base_url:
            raise RuntimeError("The emulator did not start.")
        headers = {"Authorization": f"Bearer {self.key}", "X-DashScope-Async": "enable"}
        # The emulator closes idle connections by its own clock, so none is used again.
        limits = httpx.Limits(max_keepalive_connections=0)
        self._http = httpx.Client(base_url=self.base_url, headers=headers, timeout=60, limits=limits)
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()
        self._process.kill()
        self._process.wait()

    def create(self, videos: int) -> list[str]:
        """Create tasks; return their ids."""
        answers = (self._http.post(CREATE, json=VIDEO).raise_for_status().json() for _ in range(videos))
        return [answer["output"]["task_id"] for answer in answers]

    def ended_at(self) -> dict[str, float]:
        """Return when each task ended, as far as it has."""
        rows = self._http.get("/_emulator/ledger").raise_for_status().json()
        return {row["task_id"]: _unix(row["end_time"]) for row in rows if row["end_time"]}

    def counts(self) -> dict[str, dict[str, int]]:
        """Return what it counted."""
        return dict(self._http.get("/_emulator/counts").raise_for_status().json())


class _Waiter:
    """A process that waits in one way."""

    def __init__(self, case: Case, gateway: _Gateway, folder: Path, options: dict[str, str] | None = None) -> None:
        folder.mkdir(exist_ok=True)
        self._result = folder / "result.json"
        environment = gateway.environment | {"AIRFLOW_HOME": str(folder)} | (options or {})
        command = [sys.executable, str(HERE / "process.py"), case.way, gateway.base_url, gateway.key]
        self._process = subprocess.Popen(
            [*command, str(case.limit_s), str(self._result)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        # What importing Airflow says comes first.
        assert self._process.stdout is not None
        while (line := self._process.stdout.readline()).strip() != "ready":
            if not line:
                raise RuntimeError(f"{case.way} did not start.")

    def give(self, task_ids: list[str] | None) -> None:
        """Let it wait for these tasks too; with None, it gets no more."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{json.dumps(task_ids)}\n")
        self._process.stdin.flush()

    def result(self) -> dict[str, Any]:
        """Return its result, when it has ended."""
        self._process.wait()
        return dict(json.loads(self._result.read_text()))

    def kill(self) -> None:
        """Kill it."""
        self._process.kill()
        self._process.wait()


def run_case(case: Case, folder: Path) -> Outcome:
    """Run one case."""
    environment = os.environ | fast_clock.variable(case.times_faster)
    with _Gateway(case, environment) as gateway:
        waiter = _Waiter(case, gateway, folder)
        waiter.give(gateway.create(case.waits))
        waiter.give(None)
        told = waiter.result()
        outcome = _outcome(case, gateway, told)
    print(_line(outcome), file=sys.stderr, flush=True)
    return outcome


def run_two_triggerers(waits: int, folder: Path, *, times_faster: float) -> Outcome:
    """Run two processes on one account, kill one of them, and let the other take its waits over."""
    case = Case("ours", waits, times_faster=times_faster)
    environment = os.environ | fast_clock.variable(times_faster)
    with _Gateway(case, environment) as gateway:
        first, second = (_Waiter(case, gateway, folder / name, SHARE) for name in ("first", "second"))
        task_ids = gateway.create(waits)
        half = waits // 2
        first.give(task_ids[:half])
        second.give(task_ids[half:])
        time.sleep(KILLED_AFTER_S / times_faster)  # some videos are finished by then, most are not
        first.kill()
        time.sleep(TAKEN_OVER_AFTER_S / times_faster)
        second.give(task_ids[:half])
        second.give(None)
        told = second.result()
        outcome = _outcome(case, gateway, told)
    print(_line(outcome), file=sys.stderr, flush=True)
    return outcome


def _outcome(case: Case, gateway: _Gateway, told: dict[str, Any]) -> Outcome:
    ended, noticed = gateway.ended_at(), told["noticed"]
    lags = [noticed.get(task_id, told["stopped_at"]) - at for task_id, at in ended.items()]
    return Outcome(case, [max(0.0, lag) for lag in lags], gateway.counts(), told)


def _unix(iso: str) -> float:
    return datetime.fromisoformat(iso).timestamp()


def _line(outcome: Outcome) -> str:
    case = outcome.case
    return (
        f"{case.title}, {case.waits} waits, {case.durations}: {outcome.counts['poll']} {outcome.counts['list']}, "
        f"lag {outcome.mean_lag_s:.1f} / {outcome.p95_lag_s:.1f} s, CPU {outcome.told['cpu_s']:.1f} s, "
        f"block {outcome.told['worst_block_ms']:.0f} ms, steps {outcome.told['longest_steps_ms']}, "
        f"collection {outcome.told['longest_collection_ms']:.0f} ms, "
        f"noticed {len(outcome.told['noticed'])}, failed {len(outcome.told['failed'])}"
    )


# How many waits of each way; a way that is missing at a size cannot do it.
RIVALS = ("thread per poll", "client per poll", "dashscope SDK")
SPREADS = (
    ("published spread", Case("ours", 100, "spread", has_list=False, times_faster=10)),
    ("two-humped", Case("ours", 100, "two-humped", has_list=False, times_faster=10)),
    ("wan3.0's minutes", Case("ours", 100, "wan3", has_list=False, times_faster=10)),
    ("queue of 200, 5 at a time", Case("ours", 200, "spread", running=5, has_list=False, times_faster=20)),
)


def _sizes(*, is_quick: bool) -> list[list[Case]]:
    """Return the cases of the first table in stages; the cases of a stage run together."""
    few = [Case(way, size, times_faster=4 if is_quick else 2) for size in (1, 100) for way in ("ours", *RIVALS)]
    if is_quick:
        return [few]
    ours = [replace(Case("ours", 1000), times_faster=2, has_list=has_list) for has_list in (True, False)]
    ours.append(Case("ours", 5000, times_faster=2))
    # Each of these takes a whole core, so the clock must not run faster.
    rivals = [Case(way, 1000, limit_s=300) for way in RIVALS[:2]]
    return [few, ours, rivals]


def sizes_table(outcomes: Sequence[Outcome]) -> Table:
    """Return the table of all ways at all sizes."""
    head = "waits | way | reads a video | 429s | most reads in 1 s | mean lag, s | p95 lag, s"
    return Table(
        [*head.split(" | "), "CPU, s", "KiB a wait", "worst block, ms", "longest step, ms of CPU"],
        [list(_size_cells(outcome, outcomes)) for outcome in outcomes],
    )


def _size_cells(outcome: Outcome, outcomes: Sequence[Outcome]) -> Iterator[str]:
    case, counts = outcome.case, outcome.counts
    yield f"{case.waits:,}"
    yield case.title + ("" if outcome.is_complete else f" ({len(outcome.told['noticed'])} noticed)")
    yield f"{outcome.reads / case.waits:.2f}"
    yield f"{outcome.throttled:,}"
    yield str(max(counts["poll"]["peak_per_s"], counts["list"]["peak_per_s"]))
    yield f"{outcome.mean_lag_s:.1f}"
    yield f"{outcome.p95_lag_s:.1f}"
    yield f"{outcome.told['cpu_s']:.1f}"
    alone = next((one for one in outcomes if one.case.way == case.way and one.case.waits == 1), None)
    if alone is None or case.waits == 1:
        yield ""
    else:
        more_bytes = outcome.told["peak_bytes"] - alone.told["peak_bytes"]
        yield f"{more_bytes / 1024 / (case.waits - 1):.0f}"
    yield f"{outcome.told['worst_block_ms']:.0f}"
    yield f"{max(outcome.told['longest_steps_ms'].values(), default=0):.0f}"


def spreads_table(outcomes: Sequence[Outcome]) -> Table:
    """Return the table of ours against a fixed interval on each spread of durations."""
    head = [
        "durations",
        "ours: reads a video",
        "mean lag, s",
        "fixed 10 s: reads a video",
        "mean lag, s",
        "reads, ratio",
    ]
    rows = []
    for (title, _), ours, fixed in zip(SPREADS, outcomes[::2], outcomes[1::2], strict=True):
        reads = [one.reads / one.case.waits for one in (ours, fixed)]
        rows.append(
            [
                title,
                f"{reads[0]:.2f}",
                f"{ours.mean_lag_s:.1f}",
                f"{reads[1]:.2f}",
                f"{fixed.mean_lag_s:.1f}",
                f"1 : {reads[1] / reads[0]:.1f}",
            ]
        )
    return Table(head, rows)


def ratios(outcomes: Sequence[Outcome]) -> list[str]:
    """Return sentences with the ratios between ours and the rivals at the largest size that both did."""
    told = []
    for way in RIVALS:
        both = [
            (ours, theirs)
            for theirs in outcomes
            for ours in outcomes
            if theirs.case.way == way
            and (ours.case.way, ours.case.waits, ours.case.has_list) == ("ours", theirs.case.waits, True)
        ]
        if not both:
            continue
        ours, theirs = both[-1]
        told.append(
            f"- {ours.case.waits:,} waits, ours : {way}: reads 1 : {theirs.reads / max(1, ours.reads):.1f}, "
            f"429s {ours.throttled} : {theirs.throttled:,}, mean lag 1 : {theirs.mean_lag_s / ours.mean_lag_s:.1f}, "
            f"CPU 1 : {theirs.told['cpu_s'] / ours.told['cpu_s']:.1f}."
        )
    return told


def two_sentence(two: Outcome) -> str:
    """Return what came of two triggerers."""
    return (
        f"Two triggerers have {two.case.waits // 2} waits each. One is killed after {KILLED_AFTER_S:.0f} s, and its "
        f"waits go to the other after {TAKEN_OVER_AFTER_S:.0f} s: {two.throttled} answers 429, at most "
        f"{two.counts['poll']['peak_per_s']} single reads and {two.counts['list']['peak_per_s']} of the list in a "
        f"second. All {two.case.waits} videos have ended; the survivor has noticed {len(two.told['noticed'])}.\n"
    )


@dataclass(frozen=True)
class Runner:
    """Runs the parts of the benchmark.

    :param folder: where the processes put their files.
    :param only: what the title and number of waits of a case must contain.
    """

    folder: Path
    only: str
    is_quick: bool

    def sizes(self) -> str:
        """Run all ways at all sizes; return the table and the ratios."""
        outcomes = [outcome for stage in _sizes(is_quick=self.is_quick) for outcome in self._together(stage)]
        outcomes.sort(key=lambda one: (one.case.waits, not one.case.way.startswith("ours")))
        lines = "\n".join(ratios(outcomes))
        return f"{sizes_table(outcomes)}\n{lines}\n"

    def spreads(self) -> str:
        """Run ours and a fixed interval on each spread of durations; return the table."""
        pairs = [[ours, replace(ours, way="fixed 10 s")] for _, ours in SPREADS]
        # The queue keeps a core busy, so the lags of the others would be those of a busy machine.
        stages = [[case for pair in pairs[:3] for case in pair], pairs[3]]
        return str(spreads_table([outcome for stage in stages for outcome in self._together(stage)]))

    def two(self) -> str:
        """Run two triggerers on one account; return what came of it."""
        return two_sentence(run_two_triggerers(200, self.folder, times_faster=4))

    def _together(self, cases: Sequence[Case]) -> list[Outcome]:
        wanted = [case for case in cases if self.only in f"{case.title} {case.waits}"]
        folders = [Path(tempfile.mkdtemp(dir=self.folder)) for _ in wanted]
        with ThreadPoolExecutor(max(1, len(wanted))) as pool:
            return list(pool.map(run_case, wanted, folders))


PARTS = ("sizes", "spreads", "two")


def main() -> None:
    """Run the parts and write their sections of the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=PARTS, metavar="PART", help=f"of {', '.join(PARTS)} (default: all)")
    parser.add_argument(
        "--quick", action="store_true", help="only 1 and 100 waits, on a faster clock; the page is not written"
    )
    parser.add_argument(
        "--only", default="", help="run only cases whose title and size, such as 'ours 1000', contain this; likewise"
    )
    chosen = parser.parse_args()
    for part in PARTS[:1] if chosen.quick else chosen.parts:
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="waits-") as folder:
            shown = getattr(Runner(Path(folder), chosen.only, chosen.quick), part)()
        print(shown)
        if not chosen.quick and not chosen.only:
            write_section(f"waits, {part}", f"{shown}\n{machine(['dashscope', 'httpx'], time.monotonic() - started)}")


if __name__ == "__main__":
    main()
