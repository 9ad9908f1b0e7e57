"""Give a gateway access to a file: by a signed URL, by an upload, or inside the request."""

from __future__ import annotations

import base64
import contextlib
import io
import logging
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, Self
from urllib.parse import urlsplit

from airflow_wan.api.rules import MB, MediaKind
from airflow_wan.exceptions import InvalidVideoRequest, NotMediaError, WanError
from airflow_wan.media.bounded import bounded
from airflow_wan.media.preflight import require_media, too_large
from airflow_wan.media.probing import probe_image
from airflow_wan.media.sources import (
    MAX_SENT_BYTES,
    InlineImage,
    LocalFile,
    ReadableFile,
    Source,
    StoredObject,
    UploadedFile,
    WebUrl,
    describe_error,
    size_of,
    why_unusable,
)
from airflow_wan.net.addresses import is_loopback, resolves_privately

if TYPE_CHECKING:
    from types import TracebackType

    from airflow_wan.api.client import WanClient
    from airflow_wan.api.gateways import Account
    from airflow_wan.api.media_items import MediaReference

log = logging.getLogger(__name__)

MAX_INLINE_BYTES = 10 * MB
"""Maximum size of an image that is sent inside the request. In base64 it has 13.4 MB, and a request may hold several.
Neither gateway documents how large a request may be; DashScope's own limit for an image is 20 MB."""

SIGNATURE_MARGIN_S = 3600.0
"""Seconds for which a signed URL works longer than the wait: clocks differ, and a queue may be long."""

MAX_SIGNATURE_S = 7 * 24 * 3600.0
"""Maximum validity of a signed URL, in seconds; S3 and Google refuse to sign for longer."""

_INLINE_TYPES = {"JPEG": "image/jpeg", "PNG": "image/png", "BMP": "image/bmp", "WEBP": "image/webp"}


@dataclass(frozen=True, slots=True)
class OpenFile:
    """A file that has to be sent. What is looked at and what is sent are read through the same handle.

    :param source: where it comes from.
    :param content: the file.
    :param size: its size, in bytes.
    :param version: of a local file, what changes whenever it is written to.
    """

    source: ReadableFile
    content: BinaryIO
    size: int
    version: tuple[int, ...]

    def require_unchanged(self) -> None:
        """Return only if the file was not written to since it was opened.

        :raises WanError: when it was. What was sent is not used then.
        """
        if _version_of(self.content) != self.version:
            raise WanError(f"{self.source.shown} was changed while it was read. Nothing was submitted.")


@dataclass(slots=True)
class GatewayAccess:
    """Gives one gateway access to the files of one request; a context manager.

    :param model: the model of the request: DashScope keeps an upload for one model only.
    :param account: the account that the request is sent with.
    :param client: a client of that account.
    :param valid_for_s: seconds from now during which the gateway may still fetch the files.
    """

    model: str
    account: Account
    client: WanClient
    valid_for_s: float
    _found: dict[str, str | OpenFile] = field(default_factory=dict)
    _opened: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def __enter__(self) -> Self:
        """Return the access."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the files."""
        self._opened.close()

    def find(self, source: Source, reference: MediaReference) -> None:
        """Find the URL of a file, or open it and make sure that it can be sent; nothing is sent yet.

        :raises InvalidVideoRequest: when this gateway cannot be given access to it.
        :raises WanError: when the file cannot be read now.
        """
        try:
            found = self._found[reference.url] = self._found.get(reference.url) or self._url_or_file(source, reference)
            if isinstance(found, OpenFile):
                self._check(found, reference)
        except InvalidVideoRequest:
            raise
        except Exception as error:  # noqa: BLE001 - each store has its own errors
            raise unread(source, reference, error) from None

    def url_of(self, reference: MediaReference) -> str:
        """Return the URL to send for a file that was found; if it has none, the file is sent first.

        :raises WanError: when the file cannot be read or uploaded now.
        """
        found = self._found[reference.url]
        if isinstance(found, str):
            return found
        try:
            found.require_unchanged()
            url = self._send(found, reference)
            found.require_unchanged()
            self._found[reference.url] = url
        except WanError:
            raise
        except Exception as error:  # noqa: BLE001 - each store has its own errors
            raise unread(found.source, reference, error) from None
        return url

    def _url_or_file(self, source: Source, reference: MediaReference) -> str | OpenFile:
        gateway = self.account.gateway
        if isinstance(source, WebUrl):
            return reference.url
        if isinstance(source, UploadedFile):
            if not gateway.can_upload:
                raise _refusal(
                    reference, source, f"is in DashScope's temporary store, which {gateway.title} cannot read."
                )
            return source.url
        if isinstance(source, StoredObject):
            signed = source.signed_url(min(self.valid_for_s + SIGNATURE_MARGIN_S, MAX_SIGNATURE_S))
            if signed and self._is_reachable(signed):
                return signed
        content = self._opened.enter_context(source.open())
        return OpenFile(source, content, size_of(content), _version_of(content))

    def _check(self, file: OpenFile, reference: MediaReference) -> None:
        """Make sure that a file can be sent: that it is media of the right kind, above all."""
        if not file.size:
            raise _refusal(reference, file.source, "is empty.")
        if file.size > MAX_SENT_BYTES:
            raise _refusal(reference, file.source, f"has {too_large(file.size, MAX_SENT_BYTES)} can be sent.")
        require_media(reference, file.source.shown, bounded(file.content, file.size))
        if not (self.account.gateway.can_upload or isinstance(file.source, InlineImage)):
            self._inline(file, reference)

    def _send(self, file: OpenFile, reference: MediaReference) -> str:
        if isinstance(file.source, InlineImage):
            return reference.url
        return self._upload(file, reference) if self.account.gateway.can_upload else self._inline(file, reference)

    def _upload(self, file: OpenFile, reference: MediaReference) -> str:
        """Upload a file to the gateway's temporary store; an image that cannot be uploaded is sent inline."""
        shown = file.source.shown
        try:
            file.content.seek(0)
            url = self.client.upload(file.content, model=self.model, name=file.source.name, size=file.size)
        except WanError as error:
            data_uri = _data_uri(file, reference)
            if data_uri is None:
                raise
            log.warning("%s: %s could not be uploaded and is sent inside the request: %s", reference.role, shown, error)
            return data_uri
        log.info("%s: uploaded %s to the temporary store of %s", reference.role, shown, self.account.gateway.title)
        return url

    def _inline(self, file: OpenFile, reference: MediaReference) -> str:
        data_uri = _data_uri(file, reference)
        if data_uri is None:
            raise _refusal(
                reference,
                file.source,
                f"cannot be fetched by {self.account.gateway.title}, and only an image ({', '.join(_INLINE_TYPES)}) of "
                f"at most {MAX_INLINE_BYTES / MB:g} MB can be sent inside the request. Put the file into a bucket that "
                "signs public URLs and name it as s3://… or gs://…, or give a public https:// URL, or use a connection "
                "to DashScope, which accepts uploads.",
            )
        return data_uri

    def _is_reachable(self, url: str) -> bool:
        """Return whether the gateway can reach the host of a URL.

        Private stores (MinIO in a VPC) sign URLs for hosts that the gateway cannot reach.
        """
        parts = urlsplit(url)
        host = parts.hostname or ""
        if self.account.on_loopback and is_loopback(host):
            return True
        return parts.scheme == "https" and "." in host and not resolves_privately(host)


def _version_of(content: BinaryIO) -> tuple[int, ...]:
    """Return what changes whenever an open file is written to; nothing for a file that is not on a disk."""
    try:
        found = os.fstat(content.fileno())
    except (OSError, AttributeError):
        return ()
    return found.st_size, found.st_mtime_ns


def _data_uri(file: OpenFile, reference: MediaReference) -> str | None:
    """Return a file as a data URI; None when it is not an image, is too large, or the model takes none."""
    data_uri_allowed = reference.kind is MediaKind.IMAGE and getattr(reference.limits, "data_uri", True)
    if not data_uri_allowed or file.size > MAX_INLINE_BYTES:
        return None
    file.content.seek(0)
    content = file.content.read(file.size)
    try:
        media_type = _INLINE_TYPES.get(probe_image(io.BytesIO(content)).format)
    except NotMediaError:
        return None
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}" if media_type else None


def unread(source: Source, reference: MediaReference, error: Exception) -> WanError:
    """Return the error for a file that could not be read. A local file is refused; a store may answer the next time."""
    why = why_unusable(source, error)
    if why is None and isinstance(source, LocalFile):
        why = f"{source.shown} could not be looked at ({describe_error(error)}), and is not sent unseen"
    if why is not None:
        return InvalidVideoRequest([f"{reference.role}: {why}."])
    return WanError(f"{reference.role}: {source.shown} could not be read ({describe_error(error)}). Nothing was sent.")


def _refusal(reference: MediaReference, source: Source, why: str) -> InvalidVideoRequest:
    return InvalidVideoRequest([f"{reference.role}: {source.shown} {why}"])
