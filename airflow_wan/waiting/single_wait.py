"""The wait of a process that makes no other: what each read means, and when to read next.

Nothing here reads a clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_wan.waiting.schedule import ReadSchedule

if TYPE_CHECKING:
    from airflow_wan.api.tasks import WanTask
    from airflow_wan.exceptions import WanError
    from airflow_wan.waiting.watch import Decision, VideoWatch


class SingleWait:
    """A wait on a worker: its watch, and a schedule of its own.

    :param watch: the wait.
    :param now: the time, as a Unix time in seconds.
    """

    def __init__(self, watch: VideoWatch, now: float) -> None:
        self.watch = watch
        self._schedule = ReadSchedule()
        self._schedule.join(
            watch.wan_task_id, watch.kind, started=watch.started, now=now, poll_interval=watch.poll_interval
        )

    def see_task(self, task: WanTask, now: float) -> Decision:
        """Decide after a read that returned the task; see `VideoWatch.see_task`."""
        self._schedule.saw(self.watch.wan_task_id, task, now)
        return self._decided(self.watch.see_task(task, now), now)

    def see_error(self, error: WanError, now: float) -> Decision:
        """Decide after a read that failed; see `VideoWatch.see_error`."""
        return self._decided(self.watch.see_error(error, now), now)

    def pause_s(self, now: float) -> float:
        """Return the seconds until the task is to be read again.

        :param now: the time, as a Unix time in seconds.
        """
        offered = self._schedule.next_read(now)
        due = now if offered is None else offered[1]
        return max(0.0, min(due, self.watch.gives_up_at) - now)

    def _decided(self, decision: Decision, now: float) -> Decision:
        if decision.delay:
            self._schedule.hold(self.watch.wan_task_id, now + decision.delay)
        return decision
