"""How many requests of each kind came in, how many of them were answered 429, and how many in the busiest second."""

from __future__ import annotations

from dataclasses import dataclass, field

from airflow_wan.emulator.faults import CallKind
from airflow_wan.emulator.throttle import LastSecond


@dataclass
class _Count:
    requests: int = 0
    throttled: int = 0
    peak_per_s: int = 0
    last_second: LastSecond = field(default_factory=LastSecond)

    def add(self) -> None:
        self.requests += 1
        self.last_second.add()
        self.peak_per_s = max(self.peak_per_s, len(self.last_second))


class Counts:
    """The counts since the last reset, of both gateways together."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Begin again at 0."""
        self._counts = {kind: _Count() for kind in CallKind}

    def received(self, kind: CallKind) -> None:
        """Count a request."""
        self._counts[kind].add()

    def throttled(self, kind: CallKind) -> None:
        """Count a 429."""
        self._counts[kind].throttled += 1

    def rows(self) -> dict[str, dict[str, int]]:
        """Return for each kind of call its `requests`, how many were `throttled`, and `peak_per_s`.

        `requests` counts every request, whatever its answer; `throttled` the 429s; `peak_per_s` is the most requests in
        a second.
        """
        return {
            kind.value: {"requests": one.requests, "throttled": one.throttled, "peak_per_s": one.peak_per_s}
            for kind, one in self._counts.items()
        }
