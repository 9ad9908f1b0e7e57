"""The provider's own options: section ``[wan]`` of Airflow's configuration."""

from __future__ import annotations

import os
from pathlib import Path

from airflow.providers.common.compat.sdk import conf

from airflow_wan.waiting.watch import DEFAULT_POLL_INTERVAL_S

DEFAULT_CREATES_PER_SECOND = 4.0
"""Create requests a second for each account and model. DashScope admits 5 (Alibaba's page on rate limits); the rest is
for what is not spaced: other users of the account, and the way of a request to the gateway."""


def output_base() -> str:
    """Return the folder or URI for videos without an ``output_path``: ``[wan] output_base``, or ``wan_videos``.

    :returns: a path without a slash at its end; ``wan_videos`` is in AIRFLOW_HOME.
    """
    configured: str = conf.get("wan", "output_base", fallback="") or ""
    airflow_home = Path(os.environ.get("AIRFLOW_HOME") or "~/airflow").expanduser()
    return configured.rstrip("/") or str(airflow_home / "wan_videos")


def is_output_base_set() -> bool:
    """Return whether ``[wan] output_base`` is set."""
    return bool(conf.get("wan", "output_base", fallback=""))


def local_paths_are_shared() -> bool:
    """Return whether all machines that run tasks share the folders of local paths: ``[wan] local_paths_are_shared``."""
    return bool(conf.getboolean("wan", "local_paths_are_shared", fallback=False))


def poll_interval() -> float:
    """Return the shortest time between two polls of a Wan task, in seconds: ``[wan] poll_interval``."""
    seconds: float = conf.getfloat("wan", "poll_interval", fallback=DEFAULT_POLL_INTERVAL_S)
    return seconds


def creates_per_second() -> float:
    """Return how many create requests the tasks of one machine send a second: ``[wan] creates_per_second``.

    They are counted for each account and model; 0 stands for no limit.
    """
    per_second: float = conf.getfloat("wan", "creates_per_second", fallback=DEFAULT_CREATES_PER_SECOND)
    return per_second


def deferrable() -> bool:
    """Return whether a task waits in the triggerer, for tasks that do not say so themselves: ``[wan] deferrable``.

    When that is not set, the environment variable of ``[operators] default_deferrable`` decides. A False in
    ``airflow.cfg`` does not: Airflow writes its own default there when it creates the file. A wait of minutes should
    not hold a worker only because nobody changed it.
    """
    if conf.get("wan", "deferrable", fallback=""):
        return bool(conf.getboolean("wan", "deferrable"))
    if "AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE" in os.environ:
        return bool(conf.getboolean("operators", "default_deferrable"))
    return True
