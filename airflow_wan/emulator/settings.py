"""The settings of one emulator."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_wan.emulator.clock import LONGEST_S, is_seconds

_DAY_S = 24 * 60 * 60


@dataclass(frozen=True)
class Settings:
    """How one emulator behaves.

    :param pending_s: seconds that a task stays PENDING (`submitted`) after its create.
    :param running_s: seconds that it then stays RUNNING (`in_progress`); longer if its mp4 is not ready by then. With
        0, a poll waits up to 10 seconds for the mp4, so that the first poll finds the task finished.
    :param task_ttl_s: seconds after its create during which a task can be polled.
    :param url_ttl_s: seconds for which a signed result URL works.
    :param api_key: the only key that is accepted; None accepts every `sk-…` key.
    :param rejected_keys: keys that are refused although they begin with `sk-`.
    :param system_token: the only token that opens APIYI's list of tasks; None accepts every one that is no `sk-…` key.
    :param qps_limit: whether each key may send only 20 reads a second to DashScope.
    :param media_mirrors: pairs of a public URL prefix and the prefix to fetch from instead.
    :raises ValueError: if one of the times is no number of seconds from 0 to ten years.
    """

    pending_s: float = 2.0
    running_s: float = 6.0
    # Both gateways document 24 h for the task and for its URL.
    task_ttl_s: float = _DAY_S
    url_ttl_s: float = _DAY_S
    api_key: str | None = None
    rejected_keys: frozenset[str] = frozenset()
    system_token: str | None = None
    qps_limit: bool = True
    media_mirrors: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        for name in ("pending_s", "running_s", "task_ttl_s", "url_ttl_s"):
            if not is_seconds(value := getattr(self, name)):
                raise ValueError(f"{name} must be a number of seconds from 0 to {LONGEST_S}, got {value!r}.")
