"""Writes the page that shows the outcomes."""

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

The same video is ordered in four ways, with the same faults, with `retries=3` and a `retry_delay` of 1 s everywhere.
The gateway is [the emulator](emulator.md) with DashScope's protocol, one emulator for each run. The Airflow is a real
one: scheduler with LocalExecutor, triggerer and API server. The DAGs are in
[benchmarks/paid_once/dags](../benchmarks/paid_once/dags):

- `airflow_wan`: one `WanImageToVideoOperator`, deferrable, with the default policies.
- `HttpOperator` + `HttpSensor`: create, poll, and a `@task` that downloads. The sensor runs in poke mode, because an
  `HttpSensor` with a `response_check` does not defer, and without one it cannot read the status.
- `dashscope`, one task: `VideoSynthesis.call`, then the download, in one `@task`.
- `dashscope`, two tasks: the same with the download in a second `@task`.

A cell shows *billed create requests / complete videos* at the end of the run. A video is complete if PyAV decodes it to
its last frame. Bold means: paid more than once, or no video. If the run did not succeed, its state follows.

"""

AFTER = """
## What the table shows

**The answer to a create request is lost.** Airflow's retry sends the request again if the DAG uses `HttpOperator` or a
task that calls the SDK. After a dropped connection, the SDK even repeats it within the same call. `airflow_wan` has
recorded that it was about to send the request. It finds the Wan task in DashScope's list by its prompt and continues
with it. If several Wan tasks of that time have the same prompt, it stops with one bill and no video, and says so. On
APIYI, which has no list, it always stops.

**A fault after the create request** makes neither the HTTP chain nor `airflow_wan` pay again: their retries wait for
the Wan task that they know, and download its video. A `@task` that creates and waits pays again for everything that
ends its try: a poll that is answered with 500 or not at all (the SDK repeats polls only after 503 and 504), or a
killed worker. If the same task also downloads, each broken download costs another video; a second task for the
download avoids that.

**An answer with status 200 that is not a video**, such as a proxy's page or an empty body, is accepted as the video by
code that looks only at status and length, and the run succeeds. `airflow_wan` inspects the file and downloads it again.

No run leaves half a video at its end. But the other three write to the final path, where an incomplete file remains
until the next try has finished. With `airflow_wan`, only the complete file appears there.

## Where the others do well

- Without a fault, and after a 429, all four are equal.
- **A create request that is refused with 503 is the case in which `airflow_wan` does worst.** It cannot know that
  nothing was accepted, so it stops and asks a person. The others order again: that is right here, and costs a second
  video after the 502.
- The HTTP chain has one weak point, the create request. With `retries=0` there, it would not pay twice. But a lost
  answer would then mean a paid video that nobody downloads, and a 429 or 503 would end the run. Its three retries
  survive three failed polls and no more; a `response_error_codes_allowlist` would survive more. A Wan task that fails
  ends its run, because a sensor cannot order again.
- With the SDK, the retry orders again after a Wan task has failed, which is not billed. `airflow_wan` does the same.
- The timeout of 5 s was set for its row only. By default, `airflow_wan` waits 60 s for an answer, the SDK 300 s, and
  `HttpOperator` without limit. With these defaults, an answer after 15 s causes no damage.

## How it was measured

*Billed* is taken from the emulator's ledger: the create requests that it accepted, without Wan tasks that failed.
SIGKILL goes to the process that waits for an answer which the emulator holds back. That is the task's own process or,
where `airflow_wan` waits without a worker, the triggerer, which is then started again. `tests/system` kills
`airflow_wan` at more points.

"""


@dataclass(frozen=True)
class Outcome:
    """The result of one run.

    :param billed: number of create requests that the gateway bills.
    :param videos: 1 if a decoder can read the file at its path to the last frame, otherwise 0.
    :param is_broken: whether there is a file at its path that no decoder can read to the end.
    :param leftovers: number of other files in its folder.
    :param state: the final state of the DAG run.
    """

    billed: int
    videos: int
    is_broken: bool
    leftovers: int
    state: str

    def __str__(self) -> str:
        """Return the text of its cell in the table."""
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
    """Return the table in Markdown: one row for each case, and a row of sums."""
    rows = [["what goes wrong", *(contender.title for contender in contenders)], ["---"] * (len(contenders) + 1)]
    rows += [[case.title, *(str(outcomes[case, contender]) for contender in contenders)] for case in cases]
    sums = [
        f"{sum(outcomes[case, way].billed for case in cases)} / {sum(outcomes[case, way].videos for case in cases)}"
        for way in contenders
    ]
    rows.append([f"sum of {len(cases)}", *sums])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def page(shown: str, took_s: float) -> str:
    """Return the whole page with the table."""
    versions = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    measured = f"{datetime.now(tz=UTC):%Y-%m-%d}, in {took_s / 60:.0f} minutes"
    return (
        f"{BEFORE}{shown}{AFTER}"
        "```sh\nmake bench-paid-once # writes this page\n```\n\n"
        f"{measured}: Python {platform.python_version()}, {versions}.\n"
    )
