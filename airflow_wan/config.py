"""The provider's own options: section ``[wan]`` of Airflow's configuration."""

from __future__ import annotations

import json
import logging
import math
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from airflow.exceptions import AirflowConfigException
from airflow.providers.common.compat.sdk import conf

from airflow_wan.waiting.limits import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    from airflow_wan.api.gateways import GatewayName

log = logging.getLogger(__name__)

DEFAULT_CREATES_PER_SECOND = 4.0
"""Create requests a second for each account and model. DashScope admits 5 (Alibaba's page on rate limits); the rest is
for what is not spaced: other users of the account, and the way of a request to the gateway."""


LOCAL_EXECUTORS = ("LocalExecutor", "SequentialExecutor")
"""Executors that run all tasks on the scheduler's machine. Any other may run each task on another machine."""


def executors(executor: str | None = None) -> list[str]:
    """Return the class of the executor that runs a task, and of those that may run the tasks after it.

    :param executor: the task's own executor; None for the configured ones.
    """
    if "AIRFLOW_IS_K8S_EXECUTOR_POD" in os.environ:
        return ["KubernetesExecutor"]  # within its pods, the configuration names the LocalExecutor
    # "alias:module.Class", or "team=Class1,Class2;Class3"
    configured = [
        part.rpartition("=")[2].strip()
        for part in re.split("[,;]", conf.get("core", "executor", fallback="LocalExecutor"))
    ]
    aliases = dict(name.split(":", 1) for name in configured if ":" in name)
    names = [aliases.get(executor, executor)] if executor else [name.rpartition(":")[2] for name in configured]
    return [name.rpartition(".")[2] for name in names]


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


def dry_run() -> bool:
    """Return whether no task of this installation buys anything: ``[wan] dry_run``."""
    return bool(conf.getboolean("wan", "dry_run", fallback=False))


def max_cost_per_dag_run() -> float | None:
    """Return what the tasks of one DAG run may spend together, USD: ``[wan] max_cost_per_dag_run``.

    :returns: None when it is not set, and there is no limit.
    :raises AirflowConfigException: when it is not a number from 0.
    """
    return _number("max_cost_per_dag_run", zero_too=True)


def max_cost_per_month() -> float | None:
    """Return what all tasks may spend in a month, USD: ``[wan] max_cost_per_month``.

    :returns: None when it is not set, and there is no limit.
    :raises AirflowConfigException: when it is not a number from 0.
    """
    return _number("max_cost_per_month", zero_too=True)


def budget_base() -> str | None:
    """Return the folder or URI for the reservations of budgets: ``[wan] budget_base``, or one in `output_base`.

    :returns: a path or URI without a slash at its end; None when neither option is set.
    """
    configured: str = conf.get("wan", "budget_base", fallback="") or ""
    if configured:
        return configured.rstrip("/")
    return f"{output_base()}/wan_budget" if is_output_base_set() else None


def preview_bases() -> list[str]:
    """Return the folders and URIs, beside `output_base`, whose files the pages may show: ``[wan] preview_bases``.

    What is no JSON list of texts counts as none.
    """
    try:
        bases = json.loads(conf.get("wan", "preview_bases", fallback="") or "[]")
    except ValueError:
        bases = None
    if isinstance(bases, list) and all(isinstance(base, str) for base in bases):
        return bases
    log.warning("[wan] preview_bases is ignored: it must be a JSON list of folders and URIs.")
    return []


def poll_interval() -> float | None:
    """Return the time between two polls of a Wan task, in seconds: ``[wan] poll_interval``.

    :returns: None when it is not set, and the schedule decides.
    """
    return _number("poll_interval")


def limits(gateway: GatewayName) -> Limits:
    """Return how many calls a second this process may make for one account.

    ``[wan] reads_per_second`` and ``lists_per_second`` are those of the account, ``share_of_limits`` is the part of
    them for one process.

    :param gateway: the account's gateway; it decides what is not set.
    """
    default = DEFAULT_LIMITS[gateway]
    try:
        of_account = Limits(
            reads_per_second=_number("reads_per_second") or default.reads_per_second,
            lists_per_second=_number("lists_per_second") or default.lists_per_second,
        )
        return of_account.shared(min(1.0, _number("share_of_limits") or 1.0))
    except AirflowConfigException as error:  # a wrong number must not end a wait for a video that is paid for
        log.warning("The limits of %s are the usual ones: %s", gateway, error)
        return default


def _number(option: str, *, zero_too: bool = False) -> float | None:
    """Return an option that is a number over 0; None when it is not set.

    :param zero_too: whether it may be 0.
    :raises AirflowConfigException: when it is no such number.
    """
    # Airflow's own `getfloat` raises errors of a class that depends on its version.
    if not (text := conf.get("wan", option, fallback="")):
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf or (value == 0 and not zero_too):
        least = "from" if zero_too else "over"
        raise AirflowConfigException(f"[wan] {option} must be a number {least} 0, got {text!r}.")
    return value


def creates_per_second() -> float:
    """Return how many create requests the tasks of one machine send a second: ``[wan] creates_per_second``.

    They are counted for each account and model; 0 stands for no limit.
    """
    try:
        per_second = _number("creates_per_second", zero_too=True)
    except AirflowConfigException as error:  # turns only save requests that would be refused
        log.warning("Create requests are sent at the usual rate: %s", error)
        per_second = None
    return DEFAULT_CREATES_PER_SECOND if per_second is None else per_second


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
