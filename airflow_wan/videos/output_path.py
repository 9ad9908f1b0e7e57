"""Chooses the path or URI of a task's video."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_wan.api.arguments import is_unset, show
from airflow_wan.config import (
    LOCAL_EXECUTORS,
    executors,
    is_output_base_set,
    local_paths_are_shared,
    output_base,
)
from airflow_wan.exceptions import InvalidVideoRequest
from airflow_wan.net.safe_names import safe_name
from airflow_wan.purchases.siblings import is_mapped
from airflow_wan.videos.address import is_like_a_uri, is_relative, leads_up, read_address
from airflow_wan.videos.destination import Destination

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

log = logging.getLogger(__name__)


def destination_for(output_path: object, context: Context) -> Destination:
    """Return the destination of a task's video.

    :param output_path: the task's argument, rendered. None: a path under `output_base` that no other task instance
        has. A path that ends with a slash: a file in that folder. A relative path: relative to `output_base`, and
        within it.
    :param context: the running task's context.
    :raises InvalidVideoRequest: when there can be no such path, or a relative one leaves `output_base`.
    """
    base = output_base()
    try:
        if is_unset(output_path):
            return Destination(read_address(f"{_read_base(base)}/{_default_name(context)}"))
        path = _text_of(output_path).strip()
        return _destination_at(f"{path}{_default_name(context)}" if path.endswith("/") else path)
    except ValueError as problem:
        given = f"[wan] output_base {base!r}" if is_unset(output_path) else f"output_path {show(output_path)}"
        raise InvalidVideoRequest([f"{given} {problem}."]) from None


def named_destination(path: object) -> Destination:
    """Return the place that a path names, as an ``output_path`` does: a relative path is relative to `output_base`.

    :param path: a path, a URI, or an object that stands for one.
    :raises InvalidVideoRequest: when there can be no such path, or a relative one leaves `output_base`.
    """
    try:
        return _destination_at(_text_of(path).strip())
    except ValueError as problem:
        raise InvalidVideoRequest([f"The path {show(path)} {problem}."]) from None


def _destination_at(path: str) -> Destination:
    """Return the place that a path names.

    :raises ValueError: when there can be none; its text ends a sentence that begins with the path.
    """
    path = os.path.expanduser(path)  # noqa: PTH111 - a Path would change a URI
    if not is_relative(path):
        return Destination(read_address(path))
    if is_like_a_uri(path):
        raise ValueError("is no path and no URI: a URI begins like s3://")
    if leads_up(path):
        raise ValueError("must not have '..' in it: it would lead out of [wan] output_base")
    return Destination(read_address(f"{_read_base(output_base())}/{path}"))


def _is_default(output_path: object) -> bool:
    """Return whether a video goes to a folder that nobody has chosen: ``wan_videos`` in AIRFLOW_HOME."""
    return not is_output_base_set() and (
        is_unset(output_path) or is_relative(os.path.expanduser(str(output_path).strip()))  # noqa: PTH111
    )


def path_text(output_path: object) -> object:
    """Return a path object as text, which Airflow can render and store; anything else as it is."""
    return str(output_path) if isinstance(output_path, (os.PathLike, ObjectStoragePath)) else output_path


def _text_of(output_path: object) -> str:
    """Return a path as text: a template with native rendering makes a number of ``{{ 42 }}``.

    :raises ValueError: when it is something else.
    """
    text = path_text(output_path)
    if isinstance(text, bool) or not isinstance(text, (str, int, float)):
        raise ValueError("is no path")  # noqa: TRY004 - a problem of the author's, told as the others are
    return str(text)


def _read_base(base: str) -> str:
    """Return `output_base` without ``file:``, so that no relative path behind it is percent-decoded."""
    base = os.path.expanduser(base)  # noqa: PTH111 - a Path would change a URI
    return read_address(f"{base}/x").removesuffix("/x") if base.lower().startswith("file:") else base


def _default_name(context: Context) -> str:
    """Return ``dag/run/task.mp4``, or ``dag/run/task/3.mp4`` for a mapped task instance."""
    instance = context["ti"]
    parts = [safe_name(instance.dag_id), safe_name(instance.run_id), safe_name(instance.task_id)]
    if is_mapped(instance):
        parts.append(str(instance.map_index))
    return "/".join(parts) + ".mp4"


def warn_if_not_shared(destination: Destination, executor: str | None) -> None:
    """Log a warning when the next task may run on a machine that cannot read the file.

    :param destination: the video's destination.
    :param executor: the task's own executor, None for the configured one.
    """
    if destination.local_path is None or local_paths_are_shared():
        return
    if remote := [name for name in executors(executor) if name not in LOCAL_EXECUTORS]:
        log.warning(
            "The video will be written to the local path %s, but %s may run the next task on another machine, which "
            "cannot read it. Set output_path, or [wan] output_base, to an object store such as "
            "s3://conn_id@bucket/key.mp4. If all machines share the folder, set [wan] local_paths_are_shared = True.",
            destination,
            ", ".join(remote),
        )


def why_not_kept(output_path: object, executor: str | None) -> str | None:
    """Return why no video may be bought for a folder that nobody has chosen, as a sentence; None if one may.

    :param output_path: the task's argument, rendered.
    :param executor: the task's own executor, None for the configured one.
    """
    name = executors(executor)[0]
    if name in LOCAL_EXECUTORS or local_paths_are_shared() or not _is_default(output_path):
        return None
    return (
        f"The video would be written to {output_base()} on this machine, but {name} may run the next task on another "
        "one, which cannot read it. Set output_path, or [wan] output_base, to an object store such as "
        "s3://conn_id@bucket/key.mp4 or to a folder that all machines share. If they share this one, set "
        "[wan] local_paths_are_shared = True."
    )
