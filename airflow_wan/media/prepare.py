"""Check the media of a request, and replace each by a URL that the gateway can fetch.

This happens before the create request and costs nothing, so a retry may do it again.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_wan.api.media_items import DURATION_TOLERANCE_S
from airflow_wan.api.rules import MediaKind
from airflow_wan.exceptions import InvalidVideoRequest
from airflow_wan.media.adapting import adapt_files
from airflow_wan.media.gateway_access import GatewayAccess
from airflow_wan.media.inspection import Inspected, inspect_media
from airflow_wan.media.sources import Source, SourceFacts, find_sources
from airflow_wan.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow_wan.api.client import WanClient
    from airflow_wan.api.gateways import Account
    from airflow_wan.api.media_items import MediaReference
    from airflow_wan.api.requests import VideoRequest

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PreparedMedia:
    """A request that can be sent.

    :param request: the request with URLs that the gateway can fetch, and with a number as its duration. The URLs may be
        signed: neither log nor store them.
    :param sources: what is known of each file, in the order of the original request.
    """

    request: VideoRequest
    sources: tuple[SourceFacts, ...]

    @property
    def clip_seconds(self) -> list[float | None]:
        """Lengths of the videos among the files, in seconds; None for one that was not measured."""
        clips = [reference.kind is MediaKind.VIDEO for reference in self.request.media]
        return [source.duration_s for source, is_clip in zip(self.sources, clips, strict=True) if is_clip]


def identify(request: VideoRequest) -> tuple[SourceFacts, ...]:
    """Return what identifies each file of a request, for comparing requests; nothing is fetched from the web.

    Nothing is raised: a file that is missing, or cannot be reached, has no digest.
    """
    sources, _ = find_sources(request)
    return _facts(request, sources, inspect_media(request, sources, preflight_for=None))


def prepare_media(
    request: VideoRequest,
    *,
    account: Account,
    client: WanClient,
    valid_for_s: float,
    preflight: bool = True,
    adapt_media: bool = False,
    cut_audio: bool = False,
    send: bool = True,
) -> PreparedMedia:
    """Check a request's media, and make them available to the gateway.

    https URLs and data URIs stay as they are. An object gets a signed URL if its store can give one that is public. Any
    other file is uploaded to DashScope's temporary store, or, if it is a small image, sent as a data URI. Nothing is
    uploaded, or sent inside the request, that is not found to be media of the kind that its role wants, preflight or
    not.

    :param request: the request, with its media as the user named them.
    :param account: the account that the request will be sent with.
    :param client: a client of that account.
    :param valid_for_s: seconds from now during which the gateway may still fetch the media.
    :param preflight: whether to check the media against the gateway's limits.
    :param adapt_media: whether a file that breaks a limit is replaced by a copy that fits; it needs the preflight.
    :param cut_audio: whether such a copy of a sound that is too long lacks its end.
    :param send: whether to upload what has to be; if not, the request keeps the media as the user named them.
    :raises InvalidVideoRequest: when a file is missing, breaks a limit, or cannot be given to this gateway; the error
        has all problems of all files.
    :raises WanError: when a file cannot be read or uploaded now.
    """
    sources, problems = find_sources(request)
    inspected = inspect_media(request, sources, preflight_for=account if preflight else None)
    if adapt_media:
        sources, inspected = adapt_files(request, sources, inspected, account=account, cut_audio=cut_audio)
    problems += [problem for file in inspected.values() for problem in file.problems]
    lengths = [source.duration_s for source in _facts(request, sources, inspected)]
    try:
        request = request.as_long_as_its_audio(lengths)
    except InvalidVideoRequest as error:
        problems += [] if problems else error.problems
    problems += request.length_problems(lengths)
    if problems:
        raise InvalidVideoRequest(problems)
    _warn_of_a_cut_track(request, lengths)
    with GatewayAccess(request.model, account, client, valid_for_s) as access:
        # Nothing is sent before everything that has to be sent has been looked at.
        for reference in request.media:
            try:
                access.find(sources[reference.url], reference)
            except InvalidVideoRequest as error:
                problems += error.problems
        if problems:
            raise InvalidVideoRequest(problems)
        urls = {reference.url: access.url_of(reference) for reference in request.media} if send else {}
    return PreparedMedia(request.with_urls(urls), _facts(request, sources, inspected))


def _warn_of_a_cut_track(request: VideoRequest, lengths: Sequence[float | None]) -> None:
    track_s, video_s = request.track_seconds(lengths), request.seconds
    if request.is_driven_by_audio and track_s and video_s and track_s > video_s + DURATION_TOLERANCE_S:
        log.warning(
            "The sound track lasts %.2f s and the video %g s: the rest of the sound is not heard. "
            "With duration='audio', the video is as long as the sound.",
            track_s,
            video_s,
        )


def _facts(
    request: VideoRequest, sources: Mapping[str, Source], inspected: Mapping[MediaReference, Inspected]
) -> tuple[SourceFacts, ...]:
    unknown = Inspected()
    return tuple(
        SourceFacts(
            role=reference.role,
            url=sources[reference.url].shown if reference.url in sources else redact(reference.url),
            digest=inspected.get(reference, unknown).digest,
            duration_s=getattr(inspected.get(reference, unknown).facts, "duration_s", None),
            adapted_digest=inspected.get(reference, unknown).adapted_digest,
        )
        for reference in request.media
    )
