"""How many calls of one kind an account may make: evenly spaced, fewer while the gateway says that they are too many.

Nothing here reads a clock: `now` is the time of a clock that never goes back, in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from airflow_wan.api.gateways import GatewayName
from airflow_wan.net.host_answers import LONGEST_OBEYED_S

LEAST_SHARE = 1 / 16
"""Part of its rate to which an account that is told to slow down falls at most."""

RECOVERY_S = 60.0
"""Seconds in which an account goes from nothing back to its whole rate."""

LEAST_PAUSE_S = 1.0
"""Pause in seconds after a 429 without ``Retry-After``: the gateways count by the second."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How many calls a second this process may make for one account, of each kind.

    :param reads_per_second: queries of one task.
    :param lists_per_second: pages of the list of tasks.
    """

    reads_per_second: float
    lists_per_second: float

    def shared(self, share: float) -> Limits:
        """Return the part of these limits that one of several processes may use, from 0 to 1."""
        return replace(
            self, reads_per_second=self.reads_per_second * share, lists_per_second=self.lists_per_second * share
        )


DEFAULT_LIMITS = {
    # Alibaba: queries and lists 20 a second each, for the main account. Workers read as well. 4 pages of 100 rows a
    # second show 1,000 tasks every 2.5 s.
    GatewayName.DASHSCOPE: Limits(reads_per_second=16.0, lists_per_second=4.0),
    # Not documented. APIYI asks for 3 to 10 s between two reads of one task, and for at most 10 tasks at a time.
    GatewayName.APIYI: Limits(reads_per_second=5.0, lists_per_second=1.0),
}
"""The documented limits with a margin, by gateway."""


class CallRate:
    """When the next call of a kind may be made. At most two come at once, so that no second has more than rate + 1.

    :param per_second: calls a second.
    """

    __slots__ = ("_next_at", "_paused_until", "_per_second", "_share", "_share_at", "_slowed_at")

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._next_at = float("-inf")
        self._paused_until = float("-inf")
        self._slowed_at = float("-inf")
        self._share = 1.0
        self._share_at = 0.0

    def ready_at(self) -> float:
        """Return when the next call may be made."""
        return max(self._next_at, self._paused_until)

    def take(self, now: float) -> None:
        """Count a call that is made now."""
        gap = 1 / (self._per_second * self.share(now))
        self._next_at = max(self._next_at, now - gap) + gap

    def share(self, now: float) -> float:
        """Return the part of its rate that the account has now, from 0 to 1."""
        return min(1.0, self._share + max(0.0, now - self._share_at) / RECOVERY_S)

    def slow_down(self, now: float, retry_after_s: float | None) -> bool:
        """Pause, and halve the rate: the gateway answered 429, or asked for a pause. It recovers within a minute.

        Answers that arrive together tell the same once.

        :param retry_after_s: the pause that the gateway asks for, in seconds, if it does.
        :returns: whether this is new, so that it is worth a line in the log.
        """
        pause_s = LEAST_PAUSE_S if retry_after_s is None else min(max(retry_after_s, LEAST_PAUSE_S), LONGEST_OBEYED_S)
        self._paused_until = max(self._paused_until, now + pause_s)
        if now < self._slowed_at + LEAST_PAUSE_S:
            return False
        is_new = self.share(now) == 1.0
        self._share, self._share_at = max(self.share(now) / 2, LEAST_SHARE), self._paused_until
        self._slowed_at = now
        return is_new
