"""Makes files fit that nearly do, for ``adapt_media=True``: a copy within the gateway's limits is sent instead.

The file itself is never touched. Only files that a worker reads itself are adapted: local files, objects in a store and
images inside the request. A copy is made in memory, one after the other.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from pathlib import PurePath
from typing import TYPE_CHECKING, BinaryIO, cast

from airflow_wan.api.media_items import DURATION_TOLERANCE_S
from airflow_wan.api.rules import MB, AudioLimits, ImageLimits
from airflow_wan.exceptions import WanError
from airflow_wan.media.fitted_pictures import CannotFitError, fit_picture
from airflow_wan.media.fitted_sounds import fit_sound
from airflow_wan.media.gateway_access import MAX_INLINE_BYTES, unread
from airflow_wan.media.inspection import Inspected, run_together
from airflow_wan.media.preflight import measure
from airflow_wan.media.probing import AudioFacts, ImageFacts, RecordingFile
from airflow_wan.media.sources import (
    MAX_SENT_BYTES,
    AdaptedFile,
    LocalFile,
    ReadableFile,
    Source,
    why_unusable,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow_wan.api.gateways import Account
    from airflow_wan.api.media_items import MediaReference
    from airflow_wan.api.requests import VideoRequest
    from airflow_wan.media.fitted_pictures import Fitted

log = logging.getLogger(__name__)

MAX_SECONDS = 90.0
"""Seconds that adapting one file may take. A picture of 63 million pixels took 7.5 s on a busy machine."""

MAX_ORIGINAL_BYTES = 256 * MB
"""Largest file that is adapted: room for a picture of the most pixels without compression, or a video with a voice."""

_LONGEST_SOUND_S = 60.0
"""Of a sound without a documented limit. As WAV it has 11.5 MB at most."""


def adapt_files(
    request: VideoRequest,
    sources: Mapping[str, Source],
    inspected: Mapping[MediaReference, Inspected],
    *,
    account: Account,
    cut_audio: bool,
) -> tuple[dict[str, Source], dict[MediaReference, Inspected]]:
    """Return what is sent for each URL of a request, and what is known of it, after what can be adapted was adapted.

    :param request: the request.
    :param sources: the source of each of its URLs.
    :param inspected: what was found out about each file.
    :param account: the account that the request is sent with.
    :param cut_audio: whether the end of a sound that is too long is cut off.
    :raises WanError: when a file cannot be read now, or was changed meanwhile.
    """
    sources, inspected = dict(sources), dict(inspected)
    digests: dict[str, str | None] = {}
    for reference in request.media:
        source, found = sources.get(reference.url), inspected.get(reference)
        if found is None or not isinstance(source, ReadableFile) or not _may_be_replaced(reference, request):
            continue
        if isinstance(source, AdaptedFile):  # in another role; here, it may have other limits
            found = _inspected(source, reference, digests[reference.url])
        fit = _fitting(reference, source, found, request, account, cut_audio=cut_audio)
        result = None if fit is None else _adapted(reference, source, found, fit)
        if isinstance(result, Inspected):
            inspected[reference] = result
        elif result is not None:
            sources[reference.url], digest = result
            digests.setdefault(reference.url, digest)
    for reference in request.media:
        if isinstance(copy := sources.get(reference.url), AdaptedFile):
            inspected[reference] = _inspected(copy, reference, digests[reference.url])
    return sources, inspected


def _inspected(copy: AdaptedFile, reference: MediaReference, digest: str | None) -> Inspected:
    """Return what is known of a file of which a copy is sent; the digest is that of the file itself."""
    measured = measure(reference, copy.shown, copy.open())
    return Inspected(digest, measured.facts, measured.problems, copy.digest())


def _may_be_replaced(reference: MediaReference, request: VideoRequest) -> bool:
    """Return whether a copy of a file can stand for it wherever the request names it."""
    kinds = {other.kind for other in request.media if other.url == reference.url}
    return len(kinds) == 1


def _fitting(
    reference: MediaReference,
    source: ReadableFile,
    found: Inspected,
    request: VideoRequest,
    account: Account,
    *,
    cut_audio: bool,
) -> Callable[[BinaryIO], Fitted | None] | None:
    """Return the function that makes a copy of a file that fits, if it needs one; None if the file stays as it is."""
    limits, facts = reference.limits, found.facts
    if isinstance(limits, ImageLimits):
        largest_bytes = limits.largest_bytes or MAX_SENT_BYTES
        fits = not found.problems
        if not account.gateway.can_upload:  # the copy goes into the request, as a local file does
            largest_bytes = min(largest_bytes, MAX_INLINE_BYTES)
            fits = fits and not (isinstance(source, LocalFile) and facts is not None and facts.bytes > largest_bytes)
        picture = facts if isinstance(facts, ImageFacts) else None
        return partial(fit_picture, limits=limits, facts=picture, fits=fits, largest_bytes=largest_bytes)
    if isinstance(limits, AudioLimits):
        sound = facts if isinstance(facts, AudioFacts) else None
        longest_s = request.longest_sound_s(reference) or _LONGEST_SOUND_S
        is_long = sound is not None and (sound.duration_s or 0) > longest_s + DURATION_TOLERANCE_S
        if found.problems or (is_long and cut_audio):
            return partial(fit_sound, facts=sound, longest_s=longest_s, cut=cut_audio)
    return None


def _adapted(
    reference: MediaReference, source: ReadableFile, found: Inspected, fit: Callable[[BinaryIO], Fitted | None]
) -> tuple[AdaptedFile, str | None] | Inspected | None:
    """Return a copy of a file and the digest of the file itself; None if the file can be sent as it is.

    :returns: what is known of the file, if it cannot be made to fit.
    :raises WanError: when the file cannot be read now, or was changed meanwhile.
    """
    (result,) = run_together([partial(_read_and_fit, source, fit)], longest_s=MAX_SECONDS)
    if isinstance(result, (CannotFitError, TimeoutError)):
        why = f"{reference.role}: {source.shown} cannot be made to fit: {result}."
        return replace(found, problems=(*found.problems, why)) if found.problems else None
    if isinstance(result, WanError):
        raise result
    if isinstance(result, Exception):
        if found.problems and why_unusable(source, result):
            return None  # one of the problems is that there is no such file
        raise unread(source, reference, result)
    if result is None:
        return None
    digest, fitted = result
    log.info(
        "%s: a copy of %s is sent, made to fit: %s. The file itself stays as it is.",
        reference.role,
        source.shown,
        "; ".join(fitted.changes),
    )
    return AdaptedFile(fitted.content, source.shown, f"{PurePath(source.name).stem or 'media'}{fitted.suffix}"), digest


def _read_and_fit(source: ReadableFile, fit: Callable[[BinaryIO], Fitted | None]) -> tuple[str | None, Fitted] | None:
    """Return the digest of a file and a copy of it that fits; None if the file stays as it is.

    :raises CannotFitError: when there can be no such copy.
    :raises WanError: when the file was changed while it was read.
    :raises Exception: when it cannot be read; each store has its own errors.
    """
    size = source.size()
    if size > MAX_ORIGINAL_BYTES:
        raise CannotFitError(f"it has {size / MB:.0f} MB, and at most {MAX_ORIGINAL_BYTES / MB:g} MB are read")
    digest = source.digest()
    with source.open() as file:
        recording = RecordingFile(file)
        try:
            fitted = fit(cast("BinaryIO", recording))
        except CannotFitError:
            raise
        except Exception as error:  # noqa: BLE001 - Pillow and PyAV raise dozens of kinds
            if recording.failure is not None:
                raise recording.failure from None
            raise CannotFitError(f"it cannot be decoded ({type(error).__name__})") from None
    if fitted is None:
        return None
    if source.digest() != digest:
        raise WanError(f"{source.shown} was changed while it was read. Nothing was submitted.")
    return digest, fitted
