"""Inspect all media of a request at the same time: whether each is there, which content it has, and whether it fits."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from airflow_wan.api.client import tls_context
from airflow_wan.media.bounded import BLOCK_BYTES, bounded
from airflow_wan.media.preflight import Measured, measure, size_problem
from airflow_wan.media.sources import Source, UploadedFile, WebUrl, describe_error, why_unusable
from airflow_wan.media.web_file import WebFile

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from airflow_wan.api.gateways import Account
    from airflow_wan.api.media_items import MediaReference
    from airflow_wan.api.requests import VideoRequest
    from airflow_wan.media.probing import MediaFacts

log = logging.getLogger(__name__)

T = TypeVar("T")

MAX_SECONDS = 12.0
"""Seconds for inspecting all media; slower sources are skipped with a warning. A name lookup has no timeout of its
own."""


@dataclass(frozen=True, slots=True)
class Inspected:
    """What was found out about one file.

    :param digest: identifies its content; None when nothing does.
    :param facts: what its header says, if it was read; of an adapted file, what the header of the copy says.
    :param problems: one sentence for each reason to refuse the file.
    :param adapted_digest: identifies the copy that is sent instead of the file; None when the file itself is sent.
    """

    digest: str | None = None
    facts: MediaFacts | None = None
    problems: tuple[str, ...] = ()
    adapted_digest: str | None = None


def inspect_media(
    request: VideoRequest, sources: Mapping[str, Source], *, preflight_for: Account | None
) -> dict[MediaReference, Inspected]:
    """Inspect each source; log a warning for each that cannot be inspected from here, and leave it out.

    :param request: the request.
    :param sources: the source of each of its URLs; references without one are left out.
    :param preflight_for: the account whose limits the media must keep to; None to read no header.
    """
    tasks = {
        reference: partial(_inspect, sources[reference.url], reference, preflight_for)
        for reference in request.media
        if reference.url in sources
    }
    inspected: dict[MediaReference, Inspected] = {}
    for reference, result in zip(tasks, run_together(list(tasks.values()), longest_s=MAX_SECONDS), strict=True):
        if isinstance(result, Exception):
            log.warning(
                "%s: %s could not be checked from here (%s). The gateway may still be able to fetch it.",
                reference.role,
                sources[reference.url].shown,
                describe_error(result),
            )
        else:
            inspected[reference] = result
            if getattr(result.facts, "duration_s", 0.0) is None:
                log.warning(
                    "%s: the length of %s could not be measured, so it was not checked.",
                    reference.role,
                    sources[reference.url].shown,
                )
    return inspected


def _inspect(source: Source, reference: MediaReference, preflight_for: Account | None) -> Inspected:
    """Inspect one file.

    :raises Exception: when it cannot be inspected from here; each store has its own errors.
    """
    if isinstance(source, UploadedFile):
        return Inspected()
    if isinstance(source, WebUrl):
        return _inspect_web(source, reference, preflight_for) if preflight_for else Inspected()
    try:
        size = source.size()
        if problem := size_problem(reference if preflight_for else replace(reference, limits=None), source.shown, size):
            return Inspected(problems=(problem,))  # and no byte of it is read
        digest, measured = source.digest(), Measured()
        if preflight_for:
            with source.open(BLOCK_BYTES) as file:
                measured = measure(reference, source.shown, bounded(file, size))
    except Exception as error:
        why = why_unusable(source, error)
        if why is None:
            raise
        return Inspected(problems=(f"{reference.role}: {why}.",))
    return Inspected(digest, measured.facts, measured.problems)


def _inspect_web(source: WebUrl, reference: MediaReference, account: Account) -> Inspected:
    web = WebFile(source.url, tls=tls_context(), private_allowed=account.on_private_network)
    measured = measure(reference, source.shown, web.open())
    return Inspected(f"etag:{web.etag}" if web.etag else None, measured.facts, measured.problems)


def run_together(tasks: Sequence[Callable[[], T]], *, longest_s: float) -> list[T | Exception]:
    """Run all tasks at the same time; return the result or error of each, `TimeoutError` for one that takes too long.

    The thread of such a task is left running: what it waits for, such as a name server, cannot be interrupted.

    :param tasks: what to run.
    :param longest_s: how long all of them may take, in seconds.
    """
    results: list[T | Exception] = [TimeoutError(f"it took longer than {longest_s:g} s") for _ in tasks]

    def run(index: int) -> None:
        try:
            results[index] = tasks[index]()
        except Exception as error:  # noqa: BLE001 - returned to the caller
            results[index] = error

    threads = [threading.Thread(target=run, args=(index,), daemon=True) for index in range(len(tasks))]
    deadline = time.monotonic() + longest_s
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return list(results)
