"""Which path or URI a task's video gets."""

from __future__ import annotations

import hashlib
import logging
import os
import re
from typing import TYPE_CHECKING, Any

import jinja2
import jinja2.meta
from airflow.providers.common.compat.sdk import MappedOperator, conf

from airflow_wan.api.arguments import is_unset
from airflow_wan.config import output_base
from airflow_wan.videos.destination import Destination

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

log = logging.getLogger(__name__)

# Executors whose tasks run on the scheduler's own machine. Any other may use a different one for every task.
_LOCAL_EXECUTORS = ("LocalExecutor", "SequentialExecutor")

_LONGEST_NAME = 150
"""Characters of an id that go into a path; file systems end at 255 bytes a name."""

_OF_THE_RUN = {"conn", "dag", "dag_run", "data_interval_end", "data_interval_start", "ds", "ds_nodash", "logical_date"}
_OF_THE_RUN |= {"params", "run_id", "ts", "ts_nodash", "ts_nodash_with_tz", "var"}
"""What a template may name and yet render to the same for every mapped instance of a run."""

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


def destination_for(output_path: str | None, context: Context) -> Destination:
    """Where a task's video goes.

    :param output_path: what the author wrote, rendered. None: a path under `output_base` that no other task instance
        has. With a slash at its end: that folder. Relative: under `output_base`.
    :param context: the running task's context.
    """
    if output_path is None or is_unset(output_path):
        return Destination(f"{output_base()}/{_default_name(context)}")
    path = output_path.strip()
    if path.endswith("/"):
        path += _default_name(context)
    if "://" not in path:
        path = os.path.expanduser(path)  # noqa: PTH111 - a URI must not become a Path on the way
        if not path.startswith("/"):
            path = f"{output_base()}/{path}"
    return Destination(path)


def is_shared_by_instances(output_path: str | None, context: Context) -> bool:
    """Whether other mapped instances of this task are bound to write to its path too, each over another's video.

    Told for all but the first instance, and only where it is certain: the path is the same for all, and names nothing
    that differs between instances.

    :param output_path: what the author wrote, rendered.
    :param context: the running task's context.
    """
    instance, dag = context["ti"], context.get("dag")
    if dag is None or (instance.map_index or 0) < 1 or is_unset(output_path) or str(output_path).strip().endswith("/"):
        return False
    task: Any = dag.get_task(instance.task_id)
    # A task of a mapped group is no MappedOperator; what it maps is then no text.
    written = task.partial_kwargs.get("output_path") if isinstance(task, MappedOperator) else task.output_path
    if not isinstance(written, str):
        return False
    try:
        names = jinja2.meta.find_undeclared_variables(jinja2.Environment(autoescape=True).parse(written))
    except jinja2.TemplateError:
        return False  # it uses what only the DAG's own environment knows
    return names <= _OF_THE_RUN and context["task"].render_template(written, context) == output_path


def _default_name(context: Context) -> str:
    """``dag/run/task.mp4``, or ``dag/run/task/3.mp4`` for a mapped task instance."""
    instance = context["ti"]
    parts = [_safe(instance.dag_id), _safe(instance.run_id), _safe(instance.task_id)]
    if (instance.map_index or 0) >= 0 and instance.map_index is not None:
        parts.append(str(instance.map_index))
    return "/".join(parts) + ".mp4"


def _safe(name: str) -> str:
    """Only characters that every file system and object store takes, and few; what had to change keeps its digest."""
    safe = _UNSAFE.sub("_", name).strip(".")[:_LONGEST_NAME] or "_"
    return safe if safe == name else f"{safe}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def warn_if_not_shared(destination: Destination, executor: str | None) -> None:
    """Log a warning when the next task may run on a machine that cannot see the file.

    :param destination: where the video goes.
    :param executor: the task's own executor, or None for the configured one.
    """
    if destination.local_path is None:
        return
    names = executor or conf.get("core", "executor", fallback="LocalExecutor")
    remote = [
        name
        for name in (part.split(":")[-1].strip() for part in names.split(","))
        if name and name.split(".")[-1] not in _LOCAL_EXECUTORS
    ]
    if remote:
        log.warning(
            "The video goes to the local path %s, but %s may run the next task on another machine, which cannot see "
            "it. Set output_path, or [wan] output_base, to an object store such as s3://conn_id@bucket/key.mp4, or to "
            "a folder that all workers share.",
            destination,
            ", ".join(remote),
        )
