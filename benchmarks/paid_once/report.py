"""The page that shows the outcomes."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cases import Case, Contender

PACKAGES = (
    "apache-airflow",
    "airflow-provider-wan",
    "apache-airflow-providers-http",
    "dashscope",
    "requests",
)

BEFORE = """\
# Paid once: a comparison

The same video ordered in four ways, through the same faults, with `retries=3` and a `retry_delay` of 1 s everywhere.
The gateway is [the emulator](emulator.md) with DashScope's protocol, one for each run. The Airflow is a real one:
scheduler with LocalExecutor, triggerer, API server. The DAGs are in
[benchmarks/paid_once/dags](../benchmarks/paid_once/dags):

- `airflow_wan`: one `WanImageToVideoOperator`, deferrable, all policies at their defaults.
- `HttpOperator` + `HttpSensor`: create, poll, and a `@task` that downloads. The sensor pokes, for an `HttpSensor` with
  a `response_check` does not defer, and without one it cannot read the status.
- `dashscope`, one task: `VideoSynthesis.call`, then the download, in one `@task`.
- `dashscope`, two tasks: the same with the download in a `@task` of its own.

A cell is *billed creates / complete videos* at the end of the run. A video is complete if PyAV decodes it to its last
picture. In bold: paid more than once, or no video. Where the run did not succeed, its state follows.

"""

AFTER = """
## What the table shows

**A create whose answer is lost** is sent again by Airflow's retry of `HttpOperator` and of a task that calls the SDK.
After a dropped connection the SDK even sends it again by itself, within the same call. `airflow_wan` has written its
intent down, finds the task in DashScope's list by its prompt, and goes on with it. If several tasks of that time have
the same prompt, it stops with one bill and no video, and says so. On APIYI, which has no list, it always stops there.

**Trouble after the create** makes neither the HTTP chain nor `airflow_wan` pay again: their retries wait for, and
download, the task they know. A `@task` that creates and waits in one pays again for whatever ends its try: a poll
answered 500 or not at all (the SDK repeats polls after 503 and 504 only), a killed worker. If it downloads too, so does
each broken download; a second task for the download mends that part.

**An answer 200 that is no video**, a proxy's page or nothing at all, is kept as the video by code that looks at status
and length only, and the run is green. `airflow_wan` looks into the file, and downloads it again.

No row leaves half a video behind. But the others write to the video's own name, where half of it lies until the next
try is through; with `airflow_wan` it appears there whole.

## Where the others do well

- Without a fault, and after a 429, all are alike.
- **A create refused with 503 is the row where `airflow_wan` does worst.** It cannot know that nothing was accepted, so
  it stops and asks a person. The others order again: right here, and a second bill after the 502.
- The HTTP chain is weak in one place only, its create. With `retries=0` there it would not pay twice, but a lost answer
  would be a paid video that nobody fetches, and a 429 or 503 the end of the run. Three failed polls are as many as its
  three retries bear; a `response_error_codes_allowlist` would bear more. A task that failed at the gateway ends its
  run, since a sensor cannot order anew.
- With the SDK, a task that failed at the gateway is ordered anew by the retry, unbilled, as with `airflow_wan`.
- The timeout of 5 s was set for its row. By default `airflow_wan` waits 60 s for an answer, the SDK 300 s, and
  `HttpOperator` without end: with these, an answer after 15 s harms nobody.

## How it was measured

`billed` is the emulator's ledger: creates it accepted, without tasks that failed. SIGKILL goes to the process that
waits for an answer which the emulator holds back: the task's own or, where `airflow_wan` waits without a worker, the
triggerer, which is then started again. `tests/system` kills `airflow_wan` in more places.

"""


@dataclass(frozen=True)
class Outcome:
    """What one run has led to.

    :param billed: creates that the gateway charges for.
    :param videos: 1 if a decoder reads the file at its place to its last picture.
    :param is_broken: whether there is a file at its place, and no decoder does.
    :param leftovers: files beside it.
    :param state: the DAG run's end.
    """

    billed: int
    videos: int
    is_broken: bool
    leftovers: int
    state: str

    def __str__(self) -> str:
        """A cell of the table."""
        numbers = f"{self.billed} / {self.videos}"
        if self.billed > 1 or not self.videos:
            numbers = f"**{numbers}**"
        remarks = {
            "broken file": self.is_broken,
            f"temporary files left: {self.leftovers}": self.leftovers,
            self.state: self.state != "success",
        }
        return ", ".join([numbers, *(remark for remark, applies in remarks.items() if applies)])


def table(
    cases: Sequence[Case], contenders: Sequence[Contender], outcomes: Mapping[tuple[Case, Contender], Outcome]
) -> str:
    """The outcomes in Markdown, one row for each case, and the sums below."""
    rows = [["what goes wrong", *(contender.title for contender in contenders)], ["---"] * (len(contenders) + 1)]
    rows += [[case.title, *(str(outcomes[case, contender]) for contender in contenders)] for case in cases]
    sums = [
        f"{sum(outcomes[case, way].billed for case in cases)} / {sum(outcomes[case, way].videos for case in cases)}"
        for way in contenders
    ]
    rows.append([f"sum of {len(cases)}", *sums])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def page(shown: str, took_s: float) -> str:
    """The whole page around the table."""
    versions = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    measured = f"{datetime.now(tz=UTC):%Y-%m-%d}, in {took_s / 60:.0f} minutes"
    return (
        f"{BEFORE}{shown}{AFTER}"
        "```sh\npython benchmarks/paid_once/run.py  # writes this page\n```\n\n"
        f"{measured}: Python {platform.python_version()}, {versions}.\n"
    )
