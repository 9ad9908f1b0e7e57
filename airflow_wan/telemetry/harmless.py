"""What is reported of a video is worth less than the video: a report that fails never fails a task."""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")

log = logging.getLogger(__name__)


def harmless(what: str) -> Callable[[Callable[P, T]], Callable[P, T | None]]:
    """Return a decorator that logs whatever a function raises, and returns None then.

    :param what: what the function reports, as the subject of a sentence.
    """

    def decorate(report: Callable[P, T]) -> Callable[P, T | None]:
        @functools.wraps(report)
        def report_if_possible(*args: P.args, **kwargs: P.kwargs) -> T | None:
            try:
                return report(*args, **kwargs)
            except Exception:
                log.warning("%s could not be reported. The video is not affected.", what, exc_info=True)
                return None

        return report_if_possible

    return decorate
