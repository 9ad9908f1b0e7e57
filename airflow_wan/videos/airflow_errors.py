"""What Airflow should make of this package's errors; each is logged in one line that says whether it was billed."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowSkipException,
    AirflowTaskTimeout,
)

from airflow_wan.exceptions import DestinationError, LedgerUnreadable, WanError
from airflow_wan.purchases.record import Purchase
from airflow_wan.telemetry.metrics import count_failure
from airflow_wan.videos.wan_status import tell_failure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow.providers.common.compat.sdk import Context

    from airflow_wan.purchases.ledger import Ledger
    from airflow_wan.purchases.record import Intent

log = logging.getLogger(__name__)


def fail_for_good(error: WanError) -> WanError:
    """Return an error that is an ``AirflowFailException`` too, for what a retry cannot mend; any other as it is."""
    return error if error.retry_can_help else as_airflow_error(error, AirflowFailException)


def as_airflow_error(error: WanError, airflow_class: type[AirflowException]) -> WanError:
    """Return an error that Airflow takes for one of its own, and that is still of our class, with all it knows.

    :param error: our error.
    :param airflow_class: the class of Airflow's error.
    """
    kind = _class_of_both(type(error), airflow_class)
    both = kind.__new__(kind, *error.args)
    both.__dict__.update(vars(error))
    return both


def _class_of_both(kind: type[WanError], airflow_class: type[AirflowException]) -> type[WanError]:
    return type(kind.__name__, (kind, airflow_class), {"__module__": kind.__module__, "__doc__": kind.__doc__})


_BILLED_WORDS = {True: "billed", False: "not billed", None: "perhaps billed"}


@contextmanager
def errors_for_airflow(
    context: Context, convert: Callable[[WanError], WanError] = fail_for_good, *, ledger: Ledger | None = None
) -> Iterator[None]:
    """Tell what ends a task; count and log each `WanError`, and raise it as what Airflow should make of it.

    :param context: the running task's context, in which the error is left for the pages.
    :param convert: returns what to raise for an error.
    :param ledger: the record of a task that buys. If a video was bought, or may have been, no error leaves that
        unsaid.
    """
    try:
        yield
    except WanError as error:
        if ledger is not None and not error.wan_task_id:
            _say_what_is_paid_for(error, ledger)
        count_failure(error)
        raised = convert(error)
        tell_failure(context, raised)
        # One line for whoever reads the log, before Airflow's own lines and its trace.
        log.error("%s, %s: %s", type(error).__name__, _BILLED_WORDS[error.billed], " ".join(str(raised).split()))  # noqa: TRY400 - Airflow adds its trace
        if raised is error:
            raise
        raise raised.with_traceback(error.__traceback__) from error.__cause__
    except AirflowSkipException:
        _warn_of_what_is_paid_for(ledger)
        raise
    except (Exception, AirflowTaskTimeout) as error:
        tell_failure(context, error)
        _warn_of_what_is_paid_for(ledger)
        raise


_UNANSWERED = (
    "create request of this task was sent, or was about to be sent, and got no answer: a video may be in the making, "
    "and may be billed. That stays recorded: a retry, or clearing the task, looks for the video, and never buys "
    "another one unless on_ambiguous_submit says so."
)


def _warn_of_what_is_paid_for(ledger: Ledger | None) -> None:
    record = None if ledger is None else _read(ledger)
    if isinstance(record, Purchase):
        log.warning(
            "This task has submitted wan task %s, which stays recorded and may be billed: a retry, or clearing the "
            "task, continues with it. WanVideoSensor can fetch its video within 24 h of the submit.",
            record.wan_task_id,
        )
    elif record is not None:
        log.warning("A %s", _UNANSWERED)


def _say_what_is_paid_for(error: WanError, ledger: Ledger) -> None:
    record = _read(ledger)
    if isinstance(record, Purchase):
        error.wan_task_id = record.wan_task_id
        error.billed = None
        error.retry_can_help = error.retry_can_help or isinstance(error, DestinationError)
        error.advice = (
            f"{error.advice} An earlier try submitted wan task {record.wan_task_id}, which stays recorded and may be "
            "billed: clear this task once the cause is mended, or fetch its video with WanVideoSensor within 24 h of "
            "the submit."
        ).strip()
    elif record is not None and error.billed is False:
        error.billed = None
        error.advice = f"{error.advice} Before that, a {_UNANSWERED}".strip()


def _read(ledger: Ledger) -> Intent | Purchase | None:
    """Return what the task has bought, or may have bought, as far as that can be read."""
    try:
        return ledger.read()
    except LedgerUnreadable:
        return None
