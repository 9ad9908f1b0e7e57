"""The knobs of one emulator."""

from __future__ import annotations

from dataclasses import dataclass

_DAY_S = 24 * 60 * 60


@dataclass(frozen=True)
class Settings:
    """How one emulator behaves.

    Attributes:
        pending_s: seconds a task stays PENDING (`submitted`) after its create.
        running_s: seconds it then stays RUNNING (`in_progress`); longer if its mp4 is not ready by then. With 0, a poll
            waits up to 10 seconds for the mp4, so that the first poll finds the task finished.
        task_ttl_s: seconds after its create during which a task can be asked for.
        url_ttl_s: seconds a signed result URL works.
        api_key: the only key accepted; None accepts every `sk-…` key.
        rejected_keys: keys refused although they look right.
        qps_limit: whether DashScope reads are held to 20 a second for each key.
        media_mirrors: pairs (public prefix, prefix to fetch from instead).

    """

    pending_s: float = 2.0
    running_s: float = 6.0
    # Both gateways document 24 h for the task and for its URL.
    task_ttl_s: float = _DAY_S
    url_ttl_s: float = _DAY_S
    api_key: str | None = None
    rejected_keys: frozenset[str] = frozenset()
    qps_limit: bool = True
    media_mirrors: tuple[tuple[str, str], ...] = ()
