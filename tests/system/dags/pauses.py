"""Hold a task at a chosen step, so that a test can kill it exactly there. Only the first try is held.

Each pause wraps one method of the product. Apart from the pause, the product runs unchanged.
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


def install_pause(context: Any) -> None:
    """Install the pause that the run's conf names. This ``pre_execute`` hook runs before each try and each resume."""
    conf = context["dag_run"].conf or {}
    if conf.get("pause_at") and conf.get("pause_task", context["ti"].task_id) == context["ti"].task_id:
        marker = Path(conf["pause_marker"])
        _POINTS[conf["pause_at"]](functools.partial(_hold, marker))


def _hold(marker: Path) -> None:
    """Write the ids of the held processes to the marker file, and wait to be killed or released; once only."""
    staged = marker.with_suffix(f".{os.getpid()}")
    staged.write_text(json.dumps({"task": os.getpid(), "worker": os.getppid()}))
    try:
        os.link(staged, marker)  # unlike a rename, this fails if an earlier try was held already
    except FileExistsError:
        return
    finally:
        staged.unlink()
    released = marker.with_suffix(".released")
    deadline = time.monotonic() + LONGEST_PAUSE_S
    while not released.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"no test killed or released the task that is held at {marker}")
        time.sleep(0.05)


def _before_post(hold: Callable[[], None]) -> None:
    from airflow_wan.api.client import WanClient

    _wrap(WanClient, "create", before=lambda *_, **__: hold())


def _after_answer(hold: Callable[[], None]) -> None:
    """Hold it when the gateway has answered the create, and the ledger has the intent but not yet the task id."""
    from airflow_wan.purchases.record import Purchase
    from airflow_wan.purchases.task_state_ledger import TaskStateLedger

    _wrap(TaskStateLedger, "write", before=lambda _, record: hold() if isinstance(record, Purchase) else None)


def _before_deferral(hold: Callable[[], None]) -> None:
    from airflow_wan.videos.job import VideoJob

    _wrap(VideoJob, "defer", before=lambda *_: hold())


def _before_download(hold: Callable[[], None]) -> None:
    """Hold it when it has the signed URL. The same client reads media; only a result has ``/result/`` in its path."""
    from airflow_wan.net.file_client import FileClient

    _wrap(FileClient, "get", before=lambda _, url, *__: hold() if "/result/" in url else None)


def _during_download(hold: Callable[[], None]) -> None:
    """Hold it when a part of the file is on disk."""
    import itertools

    from airflow_wan.videos import download

    download.READ_BYTES = 16 * 1024
    pieces = itertools.count()
    _wrap(download._Content, "add", before=lambda *_: hold() if next(pieces) == 2 else None)


def _before_publish(hold: Callable[[], None]) -> None:
    from airflow_wan.videos.destination import Destination

    _wrap(Destination, "publish", before=lambda *_: hold())


def _after_publish(hold: Callable[[], None]) -> None:
    """Hold it when the file is at `output_path`, and neither XCom nor Airflow's database says so."""
    from airflow_wan.videos.destination import Destination

    _wrap(Destination, "publish", after=lambda *_: hold())


def _before_return(hold: Callable[[], None]) -> None:
    """Hold a submit when its task id is in the ledger, and not yet in XCom."""
    from airflow_wan.operators.wan import WanSubmitVideoOperator

    _wrap(WanSubmitVideoOperator, "forget_when_successful", before=lambda *_: hold())


def _wrap(owner: Any, name: str, *, before: Any = None, after: Any = None) -> None:
    """Replace a method by one that also calls `before` with its arguments, or `after`."""
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
