"""The settings of one emulator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from airflow_wan.emulator.clock import LONGEST_S, is_seconds
from airflow_wan.emulator.durations import Durations
from airflow_wan.emulator.regions import REGIONS

_DAY_S = 24 * 60 * 60
_LARGEST_PAGE = 100
# The time zones of the earth.
_UTC_OFFSETS_H = (-12, 14)


@dataclass(frozen=True)
class Settings:
    """How one emulator behaves.

    :param pending_s: seconds that a task stays PENDING (`submitted`) after its create.
    :param running_s: seconds that it then stays RUNNING (`in_progress`); longer if its mp4 is not ready by then. With
        0, a poll waits up to 10 seconds for the mp4, so that the first poll finds the task finished.
    :param durations: from which spread the seconds are drawn that a task stays RUNNING; `fixed` is `running_s`. After
        each reset, the same times are drawn in the same order.
    :param speed: how many times faster than these seconds a task goes through its states. The limits a second stay, and
        the times in the answers are those of the clock.
    :param task_ttl_s: seconds after its create during which a task can be polled.
    :param url_ttl_s: seconds for which a signed result URL works.
    :param api_key: the only key that is accepted; None accepts every `sk-…` key.
    :param rejected_keys: keys that are refused although they begin with `sk-`.
    :param ungrouped_keys: keys of APIYI tokens that are not in the group Wan&HappyHorse: their creates are refused.
    :param key_regions: pairs of a key and the DashScope region that it belongs to. At a host of another region, by the
        header `Host`, DashScope refuses it; every host that is none of Alibaba's belongs to Beijing. A key without a
        region is good everywhere.
    :param balance_usd: what APIYI tells the system token that the account has left. It is told only: no create costs
        anything, or is refused for want of it.
    :param system_token: the only token that opens APIYI's list of tasks; None accepts every one that is no `sk-…` key.
    :param create_qps: creates a second that DashScope takes from each key and model; None for no limit, as for
        the next four. A call beyond its limit is answered 429. No such limit is documented for APIYI.
    :param running: tasks that DashScope has in process at a time for each key and model. It takes more, and they stay
        PENDING until they have a place, in the order of their creates.
    :param read_qps: reads of a single task a second that DashScope takes from each key.
    :param list_qps: reads of the list a second, likewise.
    :param cancel_qps: cancels a second, likewise.
    :param retry_after: whole seconds or an HTTP date for the header Retry-After of these 429s; None for no header.
        Neither gateway documents one.
    :param list_key: the name under which DashScope's list has its rows. The docs say `data`, its SDK 2 reads `tasks`.
    :param list_largest_page: greatest page of that list; who asks for more gets and is told this. It is undocumented.
    :param list_order: which tasks that list begins with; undocumented, too.
    :param list_utc_offset_h: hours from UTC of the times that a request for the list has; undocumented, too.
    :param list_delay_s: seconds by which the rows of that list are older than the tasks.
    :param latency_s: seconds of real time by which every request is handled and answered later, those for `/_emulator`
        excepted. `POST /_emulator/latency` with `{"latency_s": 1.5}` changes it.
    :param media_mirrors: pairs of a public URL prefix and the prefix to fetch from instead.
    :raises ValueError: if one of the times is no number of seconds from 0 to ten years, a limit is no whole number of
        at least 1, or another number makes no sense.
    """

    pending_s: float = 2.0
    running_s: float = 6.0
    durations: Durations = Durations.FIXED
    speed: float = 1.0
    # Both gateways document 24 h for the task and for its URL.
    task_ttl_s: float = _DAY_S
    url_ttl_s: float = _DAY_S
    api_key: str | None = None
    rejected_keys: frozenset[str] = frozenset()
    ungrouped_keys: frozenset[str] = frozenset()
    key_regions: tuple[tuple[str, str], ...] = ()
    balance_usd: float = 50.0
    system_token: str | None = None
    # Alibaba docs, rate limits: creates and tasks in process for each model, and 20 QPS each for the other calls.
    create_qps: int | None = 5
    running: int | None = 5
    read_qps: int | None = 20
    list_qps: int | None = 20
    cancel_qps: int | None = 20
    retry_after: int | str | None = None
    list_key: Literal["data", "tasks"] = "data"
    list_largest_page: int = _LARGEST_PAGE
    list_order: Literal["newest first", "oldest first"] = "newest first"
    list_utc_offset_h: float = 8.0
    list_delay_s: float = 0.0
    latency_s: float = 0.0
    media_mirrors: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        for name in ("pending_s", "running_s", "task_ttl_s", "url_ttl_s", "list_delay_s"):
            if not is_seconds(value := getattr(self, name)):
                raise ValueError(f"{name} must be a number of seconds from 0 to {LONGEST_S}, got {value!r}.")
        for name in ("create_qps", "running", "read_qps", "list_qps", "cancel_qps"):
            if not is_limit(value := getattr(self, name)):
                raise ValueError(f"{name} must be a whole number of at least 1, or None, got {value!r}.")
        if unknown := {region for _, region in self.key_regions} - set(REGIONS):
            raise ValueError(f"key_regions must name regions out of {', '.join(REGIONS)}, got {sorted(unknown)}.")
        if not 0 < self.speed < float("inf"):
            raise ValueError(f"speed must be greater than 0, got {self.speed!r}.")
        if not 1 <= self.list_largest_page <= _LARGEST_PAGE:
            raise ValueError(f"list_largest_page must be from 1 to {_LARGEST_PAGE}, got {self.list_largest_page!r}.")
        low, high = _UTC_OFFSETS_H
        if not low <= self.list_utc_offset_h <= high:
            raise ValueError(f"list_utc_offset_h must be from {low} to {high}, got {self.list_utc_offset_h!r}.")

    @property
    def finishes_at_once(self) -> bool:
        """Whether a task is to be finished at its first poll."""
        return self.durations is Durations.FIXED and self.running_s == 0


def is_limit(value: object) -> bool:
    """Return whether a value can be a limit of calls or tasks; None is no limit."""
    return value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 1)
