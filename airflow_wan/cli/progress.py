"""Shows how far a video is: in the gateway's queue, in the making, on its way home."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Self

from airflow_wan.api.tasks import TaskStatus
from airflow_wan.waiting.durations import Durations

if TYPE_CHECKING:
    from types import TracebackType

    from rich.progress import TaskID

    from airflow_wan.cli.screen import Screen
    from airflow_wan.waiting.durations import RunTimes, VideoKind
    from airflow_wan.waiting.watch import VideoWatch

MOST_VIDEOS = 0.9
"""The share of videos that is told as "nine in ten"; the bar of a running video is full when so many are done."""

_FULLEST = 0.99
"""Where the bar of a video stays that takes longer than that."""

_ENDED = (TaskStatus.SUCCEEDED, TaskStatus.FAILED, TaskStatus.CANCELED)


class Stages:
    """The three stages of one video, each with its own bar on a terminal, and with a line elsewhere; a context manager.

    :param screen: where they are shown.
    :param kind: what is made, as far as it is known.
    """

    def __init__(self, screen: Screen, kind: VideoKind) -> None:
        from rich.progress import BarColumn, Progress, TextColumn  # noqa: PLC0415 - only to show progress

        self._screen = screen
        self._usual: RunTimes = Durations().of(kind)
        self._most_s = self._usual.quantile_s(MOST_VIDEOS)
        self._bars = Progress(
            TextColumn("{task.description:<9}"),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[note]}"),
            console=screen.err,
            disable=not screen.err.is_terminal,
        )
        self._queue = self._bars.add_task("queue", total=None, start=False, note="")
        self._running = self._bars.add_task("running", total=None, start=False, visible=False, note="")
        self._download = self._bars.add_task("download", total=None, start=False, visible=False, note="")
        self._told: set[str] = set()
        self._queued_at = self._ran_at = self._ended_at = 0.0

    def __enter__(self) -> Self:
        """Begin to show the bars."""
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the bars as they are."""
        self._bars.stop()

    @property
    def usual_time(self) -> str:
        """How long such videos take, as the end of a sentence."""
        return f"half of such videos take up to {span(self._usual.median_s)}, nine in ten up to {span(self._most_s)}"

    def see(self, watch: VideoWatch) -> None:
        """Take note of a read of the Wan task."""
        self._queued_at = self._queued_at or watch.started
        if not self._ran_at and (TaskStatus.RUNNING in watch.seen or self._is_over(watch)):
            # The wait counts its time from when the Wan task left the queue, as far as the gateway tells that.
            left_queue_at = watch.gives_up_at - watch.patience.timeout_s
            self._ran_at = min(max(left_queue_at, watch.started), time.time())
            self._tell("running", f"Running: {self.usual_time}.")
        elif not self._ran_at:
            self._tell("queue", "In the gateway's queue.")
        if not self._ended_at and self._is_over(watch):
            self._ended_at = time.time()
        self.tick()

    def tick(self) -> None:
        """Move the bars on with the clock."""
        if self._bars.disable:
            return
        now = time.time()
        if not self._ran_at:
            self._bars.update(self._queue, note=span(now - self._queued_at))
            return
        self._full(self._queue, span(self._ran_at - self._queued_at))
        self._bars.update(self._running, visible=True)
        ran_s = (self._ended_at or now) - self._ran_at
        if self._ended_at:
            self._full(self._running, span(ran_s))
        else:
            share = min(ran_s / self._most_s, _FULLEST)
            self._bars.update(self._running, total=1, completed=share, note=f"{span(ran_s)}; {self.usual_time}")

    def see_bytes(self, arrived: int, total: int | None) -> None:
        """Take note of what has arrived of the file."""
        self._tell("download", "Downloading.")
        note = f"{arrived / 1e6:.1f} MB" + (f" of {total / 1e6:.1f} MB" if total else "")
        self._bars.update(self._download, visible=True, total=total, completed=arrived, note=note)

    @staticmethod
    def _is_over(watch: VideoWatch) -> bool:
        return any(status in watch.seen for status in _ENDED)

    def _full(self, bar: TaskID, note: str) -> None:
        self._bars.update(bar, total=1, completed=1, note=note)

    def _tell(self, stage: str, text: str) -> None:
        """Say once that a stage has begun, where there are no bars."""
        if self._bars.disable and stage not in self._told:
            self._told.add(stage)
            self._screen.say(text)


def span(seconds: float) -> str:
    """Return a length of time as people write it: ``45 s``, ``2 min 05 s``."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
