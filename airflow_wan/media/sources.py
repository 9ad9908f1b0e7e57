"""Where a request's media come from, and what the gateway gets for them: files of ours become URLs that it can fetch.

All of it happens before the create request and costs nothing, so that a retry may do it again.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import logging
import threading
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar
from urllib.parse import unquote, urlsplit

from airflow_wan.api.catalogue import MB, MediaKind
from airflow_wan.exceptions import InvalidVideoRequest, WanError
from airflow_wan.net.addresses import is_loopback, resolves_privately
from airflow_wan.net.stores import STORE_PACKAGES
from airflow_wan.redaction import redact, shareable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from airflow_wan.api.client import WanClient
    from airflow_wan.api.gateways import Account
    from airflow_wan.api.requests import MediaReference, VideoRequest
    from airflow_wan.media.probing import MediaFacts

log = logging.getLogger(__name__)

T = TypeVar("T")

MOST_INLINE_BYTES = 10 * MB
"""An image beyond this is not sent as a data URI. Base64 makes 13.4 MB of it, and several may go in one body; neither
gateway documents how large a body may be, and DashScope's own limit of an image is 20 MB."""

SIGNED_MARGIN = 3600.0
"""s for which a signed URL works beyond the wait: clocks differ, and a queue may be long."""

LONGEST_SIGNED = 7 * 24 * 3600.0
"""s; S3 and Google refuse a URL that is signed for longer."""

PATIENCE = 12.0
"""s in which all media together are looked at; what takes longer is let be. A name lookup knows no limit of its own."""

TEMPORARY = "oss://dashscope-instant/"
"""How the URLs of DashScope's own temporary store begin; any other ``oss://`` is a bucket of the author's."""

_IMAGE_TYPES = {"JPEG": "image/jpeg", "PNG": "image/png", "BMP": "image/bmp", "WEBP": "image/webp"}


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """What is known of one file that a request names; fit for logs and records.

    :param role: the part it plays: ``first_frame``…
    :param url: where it is, without what signs the URL.
    :param digest: what tells this content from another, as ``sha256:…`` or ``etag:…``; None where nothing does.
    :param duration_s: its length in s, if it has one and was measured.
    """

    role: str
    url: str
    digest: str | None = None
    duration_s: float | None = None


@dataclass(frozen=True, slots=True)
class PreparedMedia:
    """A request that can be sent.

    :param request: the request with URLs that the gateway can fetch. They may be signed: for the wire alone.
    :param sources: what is known of each file, in the order of the author's request.
    """

    request: VideoRequest
    sources: tuple[SourceFacts, ...]

    @property
    def clip_seconds(self) -> list[float | None]:
        """Lengths of the videos among the files, s; None for one that was not measured."""
        clips = [reference.kind is MediaKind.VIDEO for reference in self.request.media]
        return [source.duration_s for source, is_clip in zip(self.sources, clips, strict=True) if is_clip]


@dataclass(frozen=True, slots=True)
class _Web:
    """A file that the gateway fetches from where it is."""

    url: str

    @property
    def shown(self) -> str:
        return str(shareable(self.url))


@dataclass(frozen=True, slots=True)
class _Temporary:
    """A file that somebody put into DashScope's temporary store before; nobody but a task can read it."""

    url: str

    @property
    def shown(self) -> str:
        return self.url


@dataclass(frozen=True, slots=True)
class _Inline:
    """An image that is its own URL."""

    content: bytes = field(repr=False)
    shown: str

    def size(self) -> int:
        return len(self.content)

    def digest(self) -> str:
        return f"sha256:{hashlib.sha256(self.content).hexdigest()}"

    def fetch(self, start: int, stop: int) -> bytes:
        return self.content[start:stop]


@dataclass(frozen=True, slots=True)
class _Local:
    """A file on this machine."""

    path: Path

    @property
    def shown(self) -> str:
        return str(self.path)

    @property
    def name(self) -> str:
        return self.path.name

    def size(self) -> int:
        if self.path.is_dir():
            raise IsADirectoryError
        return self.path.stat().st_size

    def digest(self) -> str:
        with self.path.open("rb") as file:
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"

    def fetch(self, start: int, stop: int) -> bytes:
        with self.path.open("rb") as file:
            file.seek(start)
            return file.read(stop - start)

    def open(self) -> BinaryIO:
        return self.path.open("rb")


@dataclass(frozen=True, slots=True)
class _Stored:
    """An object in a store that Airflow reaches."""

    shown: str
    fs: Any
    path: str

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    def size(self) -> int:
        info = self.fs.info(self.path)
        if info["type"] != "file":
            raise IsADirectoryError
        return int(info["size"])

    def digest(self) -> str | None:
        info = self.fs.info(self.path)
        # As S3 and OSS, Google and Azure call it.
        etag = info.get("ETag") or info.get("etag")
        return f"etag:{str(etag).strip(chr(34))}" if etag else None

    def fetch(self, start: int, stop: int) -> bytes:
        # ossfs counts the end in, all others do not.
        return bytes(self.fs.cat_file(self.path, start=start, end=stop))[: stop - start]

    def open(self) -> BinaryIO:
        file: BinaryIO = self.fs.open(self.path, "rb", block_size=MB)
        return file

    def signed(self, seconds: float) -> str | None:
        """A URL that needs no key for so long, where the store can give one."""
        try:
            return str(self.fs.sign(self.path, expiration=int(seconds)))
        except Exception as error:  # noqa: BLE001 - every store has errors of its own, whose text may hold the URL
            log.info("%s cannot be given a signed URL (%s)", self.shown, type(error).__name__)
            return None


_File = _Local | _Stored
_Source = _Web | _Temporary | _Inline | _Local | _Stored


@dataclass(frozen=True, slots=True)
class _Examined:
    """What a look at one source brought."""

    digest: str | None = None
    facts: MediaFacts | None = None
    problems: tuple[str, ...] = ()


def identify(request: VideoRequest) -> tuple[SourceFacts, ...]:
    """Tell each file of a request from others, as far as that takes no fetching; for comparing requests.

    Nothing is raised: a file that is gone, or cannot be reached, has no digest.
    """
    sources, _ = _sources_of(request)
    return _facts(request, sources, _look(request, sources, preflight=False))


def prepare_media(
    request: VideoRequest, *, account: Account, client: WanClient, valid_for_s: float, preflight: bool = True
) -> PreparedMedia:
    """Make a request's media such that the gateway can fetch them, once they have been looked at.

    https URLs and data URIs stay. An object gets a signed URL where its store gives one that is public. Any other
    file goes to DashScope's temporary store, or, if it is a small image, into the request as a data URI.

    :param request: the request, its media as the author wrote them.
    :param account: where it will go.
    :param client: a client of that account.
    :param valid_for_s: s for which the gateway may need the media: the longest wait for the video.
    :param preflight: whether to hold the media to the gateway's limits.
    :raises InvalidVideoRequest: with every problem at once: a file that is missing, breaks a limit, or cannot be
        given to this gateway.
    :raises WanError: when an upload fails for now.
    """
    sources, problems = _sources_of(request)
    looks = _look(request, sources, preflight=preflight)
    problems += [problem for seen in looks.values() for problem in seen.problems]
    if problems:
        raise InvalidVideoRequest(problems)
    way = _Way(request.model, account, client, valid_for_s)
    urls: dict[str, str] = {}
    for reference in request.media:
        try:
            urls[reference.url] = urls.get(reference.url) or way.url_for(sources[reference.url], reference)
        except InvalidVideoRequest as error:
            problems += error.problems
    if problems:
        raise InvalidVideoRequest(problems)
    return PreparedMedia(request.with_urls(urls), _facts(request, sources, looks))


def _facts(
    request: VideoRequest, sources: Mapping[str, _Source], looks: Mapping[MediaReference, _Examined]
) -> tuple[SourceFacts, ...]:
    nothing = _Examined()
    return tuple(
        SourceFacts(
            role=reference.role,
            url=sources[reference.url].shown if reference.url in sources else shareable(reference.url),
            digest=looks.get(reference, nothing).digest,
            duration_s=getattr(looks.get(reference, nothing).facts, "duration_s", None),
        )
        for reference in request.media
    )


# --------------------------------------------------------------------------------------------------------------------
# Which kind of source


def _sources_of(request: VideoRequest) -> tuple[dict[str, _Source], list[str]]:
    """What stands behind each URL, and why nothing does behind others."""
    sources: dict[str, _Source] = {}
    problems: list[str] = []
    for reference in request.media:
        try:
            sources[reference.url] = _source_of(reference)
        except InvalidVideoRequest as error:
            problems += error.problems
    return sources, problems


def _source_of(reference: MediaReference) -> _Source:
    """What stands behind a URL; nothing is opened.

    :raises InvalidVideoRequest: when that is nothing that can be read.
    """
    url = reference.url
    scheme = url.partition(":")[0].lower()
    if scheme == "data":
        head, _, payload = url.partition(",")
        try:
            return _Inline(base64.b64decode(payload, validate=True), shareable(url))
        except binascii.Error:
            raise InvalidVideoRequest([f"{reference.role}: {head},… is no valid base64."]) from None
    if scheme in ("http", "https"):
        return _Web(url)
    if url.startswith(TEMPORARY):
        return _Temporary(url)
    if scheme == "file":
        rest = url.partition(":")[2].removeprefix("//")
        return _Local(Path(unquote(rest.removeprefix("localhost"))))
    return _stored(reference, scheme) if "://" in url else _Local(Path(url).expanduser())


def _stored(reference: MediaReference, scheme: str) -> _Stored:
    """An object, with its store's connection looked up: other threads have no line to Airflow."""
    from airflow.providers.common.compat.sdk import ObjectStoragePath  # noqa: PLC0415 - heavy, and rarely needed

    try:
        path = ObjectStoragePath(reference.url)
        return _Stored(shareable(reference.url), path.fs, path.path)
    except Exception as error:  # noqa: BLE001 - every store has errors of its own
        package = STORE_PACKAGES.get(scheme)
        hint = f" Reading {scheme}:// needs the package {package} on the workers." if package else ""
        raise InvalidVideoRequest(
            [f"{reference.role}: {redact(reference.url)} cannot be opened ({_in_words(error)}).{hint}"]
        ) from None


# --------------------------------------------------------------------------------------------------------------------
# Looking at it


def _look(request: VideoRequest, sources: Mapping[str, _Source], *, preflight: bool) -> dict[MediaReference, _Examined]:
    """A look at each source that there is."""
    looks = {
        reference: partial(_examine, sources[reference.url], reference, preflight=preflight)
        for reference in request.media
        if reference.url in sources
    }
    seen: dict[MediaReference, _Examined] = {}
    for reference, result in zip(looks, _side_by_side(list(looks.values())), strict=True):
        if isinstance(result, Exception):
            shown, what = sources[reference.url].shown, _in_words(result)
            log.warning(
                "%s: %s could not be checked from here (%s). The gateway may reach it all the same.",
                reference.role,
                shown,
                what,
            )
        else:
            seen[reference] = result
    return seen


def _examine(source: _Source, reference: MediaReference, *, preflight: bool) -> _Examined:
    """Whether a file is there, which one it is, and whether it will do.

    :raises Exception: when that cannot be told.
    """
    if isinstance(source, _Temporary):
        return _Examined()
    if isinstance(source, _Web):
        return _examine_web(source, reference) if preflight else _Examined()
    try:
        size = source.size()
        if not size:
            return _Examined(problems=(f"{reference.role}: {source.shown} is empty.",))
        digest = source.digest()
        if not preflight:
            return _Examined(digest)
        from airflow_wan.media.preflight import measure  # noqa: PLC0415
        from airflow_wan.media.ranged import RangedFile  # noqa: PLC0415 - httpx and Pillow load when first used

        measured = measure(reference, source.shown, RangedFile(source.fetch, size).buffered())
    except FileNotFoundError:
        return _Examined(problems=(f"{reference.role}: there is no file {source.shown}{_where(source)}.",))
    except IsADirectoryError:
        return _Examined(problems=(f"{reference.role}: {source.shown} is a folder.",))
    except PermissionError:
        return _Examined(problems=(f"{reference.role}: {source.shown} may not be read{_where(source)}.",))
    return _Examined(digest, measured.facts, measured.problems)


def _examine_web(source: _Web, reference: MediaReference) -> _Examined:
    from airflow_wan.api.client import tls_context  # noqa: PLC0415 - httpx and Pillow load when first used
    from airflow_wan.media.preflight import measure  # noqa: PLC0415
    from airflow_wan.media.ranged import WebFile  # noqa: PLC0415

    with WebFile(source.url, tls=tls_context()) as web:
        measured = measure(reference, source.shown, web.open())
        return _Examined(f"etag:{web.etag}" if web.etag else None, measured.facts, measured.problems)


def _where(source: _Source) -> str:
    return " on this worker" if isinstance(source, _Local) else " with this connection"


def _side_by_side(looks: Sequence[Callable[[], T]]) -> list[T | Exception]:
    """The result or error of each look, all taken at once; `TimeoutError` for one that is not done in time.

    Its thread is left behind: what it waits for, a name server above all, cannot be called off.
    """
    results: list[T | Exception] = [TimeoutError(f"it took longer than {PATIENCE:g} s") for _ in looks]

    def take(index: int) -> None:
        try:
            results[index] = looks[index]()
        except Exception as error:  # noqa: BLE001 - handed to whoever asked
            results[index] = error

    threads = [threading.Thread(target=take, args=(index,), daemon=True) for index in range(len(looks))]
    until = time.monotonic() + PATIENCE
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    return list(results)


def _in_words(error: Exception) -> str:
    return redact(f"{type(error).__name__}: {error}")


# --------------------------------------------------------------------------------------------------------------------
# What the gateway gets


@dataclass(frozen=True, slots=True)
class _Way:
    """How files come to one gateway."""

    model: str
    account: Account
    client: WanClient
    valid_for_s: float

    def url_for(self, source: _Source, reference: MediaReference) -> str:
        """The URL to send for a source.

        :raises InvalidVideoRequest: when this gateway cannot be given it.
        :raises WanError: when the upload failed.
        """
        gateway = self.account.gateway
        if isinstance(source, (_Web, _Inline)):
            return reference.url
        if isinstance(source, _Temporary):
            if not gateway.can_upload:
                raise _refusal(reference, source, f"lies in DashScope's temporary store, closed to {gateway.title}.")
            return source.url
        if isinstance(source, _Stored):
            signed = source.signed(min(self.valid_for_s + SIGNED_MARGIN, LONGEST_SIGNED))
            if signed and self._is_public(signed):
                return signed
        try:
            if gateway.can_upload:
                return self._uploaded(source, reference)
            data_uri = self._data_uri(source, reference)
        except (WanError, InvalidVideoRequest):
            raise
        except Exception as error:  # noqa: BLE001 - every store has errors of its own
            raise WanError(
                f"{reference.role}: {source.shown} could not be read ({_in_words(error)}). Nothing was sent."
            ) from None
        if data_uri is None:
            raise _refusal(
                reference,
                source,
                f"lies where {gateway.title} cannot fetch it, and only an image ({', '.join(_IMAGE_TYPES)}) of at most "
                f"{MOST_INLINE_BYTES / MB:g} MB can go into the request. Put it into a bucket that signs public URLs "
                "and name it as s3://… or gs://…, give a public https:// URL, or use a connection to DashScope, "
                "which takes files.",
            )
        return data_uri

    def _uploaded(self, file: _File, reference: MediaReference) -> str:
        try:
            with file.open() as content:
                url = self.client.upload(content, model=self.model, name=file.name, size=file.size())
        except WanError as error:
            data_uri = self._data_uri(file, reference)
            if data_uri is None:
                raise
            log.warning(
                "%s: %s goes into the request, as it could not be uploaded: %s", reference.role, file.shown, error
            )
            return data_uri
        log.info("%s: %s is in the temporary store of %s", reference.role, file.shown, self.account.gateway.title)
        return url

    def _data_uri(self, file: _File, reference: MediaReference) -> str | None:
        """The file as part of the request: images alone may be, and small ones."""
        if reference.kind is not MediaKind.IMAGE or file.size() > MOST_INLINE_BYTES:
            return None
        from airflow_wan.exceptions import NotMediaError  # noqa: PLC0415 - Pillow, when first used
        from airflow_wan.media.probing import probe_image  # noqa: PLC0415 - Pillow, when first used

        content = file.fetch(0, MOST_INLINE_BYTES)
        try:
            media_type = _IMAGE_TYPES.get(probe_image(io.BytesIO(content)).format)
        except NotMediaError:
            media_type = None
        return f"data:{media_type};base64,{base64.b64encode(content).decode()}" if media_type else None

    def _is_public(self, url: str) -> bool:
        """Whether the gateway can fetch a URL as far as its host tells: many a store signs for a host in the cellar."""
        parts = urlsplit(url)
        host = parts.hostname or ""
        if self.account.on_loopback and is_loopback(host):
            return True
        return parts.scheme == "https" and "." in host and not resolves_privately(host)


def _refusal(reference: MediaReference, source: _Source, why: str) -> InvalidVideoRequest:
    return InvalidVideoRequest([f"{reference.role}: {source.shown} {why}"])
