"""Chooses the path or URI of a task's video."""

from __future__ import annotations

import logging
import os
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import jinja2
import jinja2.meta
from airflow.providers.common.compat.sdk import MappedOperator, conf

from airflow_wan.api.arguments import is_unset
from airflow_wan.config import output_base
from airflow_wan.exceptions import InvalidVideoRequest
from airflow_wan.videos.destination import Destination, safe_name

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

log = logging.getLogger(__name__)

# Executors that run all tasks on the scheduler's machine. Any other may run each task on another machine.
_LOCAL_EXECUTORS = ("LocalExecutor", "SequentialExecutor")

# A control character, or half of a character, which UTF-8 cannot hold.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_SEPARATOR = re.compile(r"[/\\]")

# What file systems allow for each name and S3 for a key, and what the longest name beside the video adds: ".rejected".
_MAX_NAME_BYTES = 255
_MAX_KEY_BYTES = 1024
_MAX_ADDED_BYTES = len(".rejected")

# Template variables with one value for all mapped instances of a run.
_SAME_FOR_ALL_INSTANCES = frozenset(
    {"conn", "dag", "dag_run", "data_interval_end", "data_interval_start", "ds", "ds_nodash", "logical_date"}
    | {"params", "run_id", "ts", "ts_nodash", "ts_nodash_with_tz", "var"}
)


def destination_for(output_path: str | None, context: Context) -> Destination:
    """Return the destination of a task's video.

    :param output_path: the task's argument, rendered. None: a path under `output_base` that no other task instance
        has. A path that ends with a slash: a file in that folder. A relative path: relative to `output_base`, and
        within it.
    :param context: the running task's context.
    :raises InvalidVideoRequest: when there can be no such path, or a relative one leaves `output_base`.
    """
    if output_path is None or is_unset(output_path):
        return Destination(f"{output_base()}/{_default_name(context)}")
    path = str(output_path).strip()
    if path.endswith("/"):
        path += _default_name(context)
    if "://" not in path:
        path = os.path.expanduser(path)  # noqa: PTH111 - a Path would change a URI
    if problem := _problem_of(path):
        raise InvalidVideoRequest([f"output_path {output_path!r} {problem}."])
    return Destination(path if "://" in path or path.startswith("/") else f"{output_base()}/{path}")


def _problem_of(path: str) -> str | None:
    """Return what is wrong with a path or URI, as the end of a sentence that begins with it."""
    if _UNPRINTABLE.search(path):
        return "has a control character or half a character in it"
    scheme, _, rest = path.partition("://")
    is_object = bool(rest) and scheme.lower() != "file"
    if is_object and len(rest.partition("/")[2].encode()) > _MAX_KEY_BYTES - _MAX_ADDED_BYTES:
        return f"has more than {_MAX_KEY_BYTES - _MAX_ADDED_BYTES} bytes behind the bucket"
    names = (rest or path).split("/")
    if not is_object and any(len(name.encode()) > _MAX_NAME_BYTES - _MAX_ADDED_BYTES for name in names):
        return f"has a name of more than {_MAX_NAME_BYTES - _MAX_ADDED_BYTES} bytes in it"
    # A store, or a base that is a URI, may take an escaped name for what it stands for.
    is_relative = not rest and not path.startswith("/")
    if (is_relative or is_object) and ".." in _SEPARATOR.split(unquote(unquote(rest or path))):
        return "must not have '..' in it: it would lead out of [wan] output_base, or to another object"
    return None


def is_shared_by_instances(output_path: str | None, context: Context) -> bool:
    """Return whether all mapped instances of this task write to one path, each over another's video.

    It is True only when that is certain: the path's template uses nothing that differs between instances. It is False
    for the first instance, which may use the path.

    :param output_path: the task's argument, rendered.
    :param context: the running task's context.
    """
    instance, dag = context["ti"], context.get("dag")
    if dag is None or (instance.map_index or 0) < 1 or is_unset(output_path) or str(output_path).strip().endswith("/"):
        return False
    task: Any = dag.get_task(instance.task_id)
    # A task in a mapped task group is not a MappedOperator; an argument that it maps is not a str.
    template = task.partial_kwargs.get("output_path") if isinstance(task, MappedOperator) else task.output_path
    if not isinstance(template, str):
        return False
    try:
        names = jinja2.meta.find_undeclared_variables(jinja2.Environment(autoescape=True).parse(template))
    except jinja2.TemplateError:
        return False  # it needs an extension of the DAG's own Jinja environment
    return names <= _SAME_FOR_ALL_INSTANCES and context["task"].render_template(template, context) == output_path


def _default_name(context: Context) -> str:
    """Return ``dag/run/task.mp4``, or ``dag/run/task/3.mp4`` for a mapped task instance."""
    instance = context["ti"]
    parts = [safe_name(instance.dag_id), safe_name(instance.run_id), safe_name(instance.task_id)]
    if (instance.map_index or 0) >= 0 and instance.map_index is not None:
        parts.append(str(instance.map_index))
    return "/".join(parts) + ".mp4"


def warn_if_not_shared(destination: Destination, executor: str | None) -> None:
    """Log a warning when the next task may run on a machine that cannot read the file.

    :param destination: the video's destination.
    :param executor: the task's own executor, None for the configured one.
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
            "The video will be written to the local path %s, but %s may run the next task on another machine, which "
            "cannot read it. Set output_path, or [wan] output_base, to an object store such as "
            "s3://conn_id@bucket/key.mp4, or to a folder that all workers share.",
            destination,
            ", ".join(remote),
        )
