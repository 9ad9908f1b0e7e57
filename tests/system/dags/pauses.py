"""Holds a task at a chosen step of its journey, so that a test can kill it right there; only its first try is held.

Each pause is laid around one call of the product, which otherwise runs as it is.
"""

from __future__ import annotations

import functools
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST_PAUSE_S = 150.0


def pause_where_told(context: Any) -> None:
    """Lay the pause that the run's conf names; a ``pre_execute`` hook, so it runs before each try and each resume."""
    conf = context["dag_run"].conf or {}
    if conf.get("pause_at") and conf.get("pause_task", context["ti"].task_id) == context["ti"].task_id:
        marker = Path(conf["pause_marker"])
        _POINTS[conf["pause_at"]](functools.partial(_hold, marker))


def _hold(marker: Path) -> None:
    """Write down who is held, once, and wait to be killed or let go."""
    staged = marker.with_suffix(f".{os.getpid()}")
    staged.write_text(json.dumps({"task": os.getpid(), "worker": os.getppid()}))
    try:
        os.link(staged, marker)  # unlike a rename, fails if an earlier try was held here already
    except FileExistsError:
        return
    finally:
        staged.unlink()
    released = marker.with_suffix(".released")
    deadline = time.monotonic() + LONGEST_PAUSE_S
    while not released.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"nobody came to kill or release the task held at {marker}")
        time.sleep(0.05)


def _before_post(hold: Callable[[], None]) -> None:
    from airflow_wan.api.client import WanClient

    _lay(WanClient, "create", before=lambda *_, **__: hold())


def _after_answer(hold: Callable[[], None]) -> None:
    """The gateway has answered the create; the ledger has the intent and not the id."""
    from airflow_wan.purchases.record import Purchase
    from airflow_wan.purchases.task_state_ledger import TaskStateLedger

    _lay(TaskStateLedger, "write", before=lambda _, record: hold() if isinstance(record, Purchase) else None)


def _before_deferral(hold: Callable[[], None]) -> None:
    from airflow_wan.videos.job import VideoJob

    _lay(VideoJob, "defer", before=lambda *_: hold())


def _before_download(hold: Callable[[], None]) -> None:
    """The signed URL is in hand. Media are read by the same client, so the path tells a result from a picture."""
    from airflow_wan.net.file_client import FileClient

    _lay(FileClient, "get", before=lambda _, url, *__: hold() if "/result/" in url else None)


def _during_download(hold: Callable[[], None]) -> None:
    """Part of the file is on disk."""
    import itertools

    from airflow_wan.videos import download

    download.READ_BYTES = 16 * 1024
    pieces = itertools.count()
    _lay(download._Content, "add", before=lambda *_: hold() if next(pieces) == 2 else None)


def _before_publish(hold: Callable[[], None]) -> None:
    from airflow_wan.videos.destination import Destination

    _lay(Destination, "publish", before=lambda *_: hold())


def _after_publish(hold: Callable[[], None]) -> None:
    """The file is at its place; neither XCom nor Airflow knows."""
    from airflow_wan.videos.destination import Destination

    _lay(Destination, "publish", after=lambda *_: hold())


def _before_return(hold: Callable[[], None]) -> None:
    """A submit is written down; its task id is not in XCom yet."""
    from airflow_wan.operators.wan import WanSubmitVideoOperator

    _lay(WanSubmitVideoOperator, "forget_when_successful", before=lambda *_: hold())


def _lay(owner: Any, name: str, *, before: Any = None, after: Any = None) -> None:
    product = getattr(owner, name)

    @functools.wraps(product)
    def paused(*args: Any, **kwargs: Any) -> Any:
        if before:
            before(*args, **kwargs)
        result = product(*args, **kwargs)
        if after:
            after(*args, **kwargs)
        return result

    setattr(owner, name, paused)


_POINTS = {
    "before the POST": _before_post,
    "between answer and ledger": _after_answer,
    "before the deferral": _before_deferral,
    "before the download": _before_download,
    "during the download": _during_download,
    "before publishing": _before_publish,
    "after publishing": _after_publish,
    "after the submit": _before_return,
}
