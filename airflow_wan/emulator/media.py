"""Input media: fetching them from their URLs, and checking the documented limits."""

from __future__ import annotations

import base64
import binascii
import io
import time
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import av
import httpx
from av.error import FFmpegError
from PIL import Image, UnidentifiedImageError

from airflow_wan.emulator.gateway_names import GatewayName
from airflow_wan.emulator.validation import AUDIO_ROLES, IMAGE_ROLES, VIDEO_ROLES, Failure, MediaItem

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from av.container import InputContainer

_MB = 1024 * 1024
_FETCH_TIMEOUT_S = 10.0
# For a whole file: a timeout of httpx counts from the last byte.
_LONGEST_FETCH_S = 60.0
_MOST_REDIRECTS = 20
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})

# Encoding changes the duration of a file a little.
_DURATION_TOLERANCE_S = 0.1


class MediaFailedError(Exception):
    """A media file cannot be used, so its task fails."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.failure = Failure(code, message)


@dataclass(frozen=True)
class Fetcher:
    """A reader of media URLs for one gateway.

    :param mirrors: pairs of a URL prefix and the prefix to fetch from instead.
    :param uploaded: returns the file of an `oss://` URL, or None if this task may not read it; None if the gateway does
        not resolve such URLs.
    """

    gateway: GatewayName
    mirrors: tuple[tuple[str, str], ...]
    uploaded: Callable[[str], bytes | None] | None = None

    def fetch(self, item: MediaItem) -> bytes:
        """Return the bytes of `item.url`.

        :raises MediaFailedError: if they cannot be had.
        """
        if item.url.startswith("data:"):
            return self._inline(item)
        if item.url.startswith("oss://"):
            return self._from_store(item)
        url = self._mirrored(item.url)
        parts = urlsplit(url)
        loopback = parts.hostname in _LOOPBACK
        # DashScope accepts http too; APIYI documents https only. In a test, loopback replaces the public web.
        http_ok = loopback or self.gateway is GatewayName.DASHSCOPE
        if not parts.hostname or not (parts.scheme == "https" or (parts.scheme == "http" and http_ok)):
            raise self._unreachable(item, "InvalidURL", "The media url is not a public http(s) url")
        if not item.url.isascii():
            # Alibaba docs: no Chinese characters in the URL.
            raise self._unreachable(item, "InvalidURL", "The media url contains non-ASCII characters")
        try:
            return self._download(url, item, loopback=loopback)
        except httpx.TimeoutException:
            raise self._unreachable(item, "InvalidURL.Timeout", "Download the media timed out") from None
        except httpx.ConnectError:
            raise self._unreachable(
                item, "InvalidURL.ConnectionRefused", "Connection to the media url was refused"
            ) from None
        except (httpx.HTTPError, httpx.InvalidURL):
            raise self._unreachable(item, "InvalidURL", "The media url cannot be read") from None

    def _from_store(self, item: MediaItem) -> bytes:
        # It is unknown whether APIYI forwards oss:// URLs; the emulator does not resolve them for it.
        content = self.uploaded(item.url) if self.uploaded else None
        if content is None:
            raise self._unreachable(item, "InvalidURL", "The media url is not a file that this task may read")
        _check_bytes(item, len(content))
        return content

    def _mirrored(self, url: str) -> str:
        for prefix, target in self.mirrors:
            if url.startswith(prefix):
                return target + url.removeprefix(prefix)
        return url

    def _download(self, url: str, item: MediaItem, *, loopback: bool) -> bytes:
        ends_at = time.monotonic() + _LONGEST_FETCH_S
        # A proxy that the environment names cannot reach the loopback of this machine.
        with httpx.Client(verify=_tls(), timeout=_FETCH_TIMEOUT_S, trust_env=not loopback) as client:
            # httpx would read the body of a redirect, however long it is.
            for _ in range(_MOST_REDIRECTS + 1):
                # Nothing is unpacked: a few compressed bytes may stand for a thousand times as many.
                with client.stream("GET", url, headers={"Accept-Encoding": "identity"}) as response:
                    if response.next_request is None:
                        return self._content(response, item, ends_at)
                    url = str(response.next_request.url)
        raise self._unreachable(item, "InvalidURL", "The media url is redirected too often")

    def _content(self, response: httpx.Response, item: MediaItem, ends_at: float) -> bytes:
        if response.status_code != httpx.codes.OK:
            raise self._unreachable(
                item, "InvalidFile.DownloadFailed", f"Download failed with status {response.status_code}"
            )
        content = bytearray()
        for chunk in response.iter_raw():
            content += chunk
            _check_bytes(item, len(content))
            if time.monotonic() > ends_at:
                raise self._unreachable(item, "InvalidURL.Timeout", "Download the media timed out")
        return bytes(content)

    def _inline(self, item: MediaItem) -> bytes:
        # Alibaba docs: data URIs for images only. APIYI disagrees with itself (its page says https only, its own script
        # says tested); the emulator accepts them.
        header, _, payload = item.url.partition(",")
        if not item.rule.data_uri:
            raise self._unreachable(item, "InvalidURL", "The url must be an https or oss url")
        if item.role not in IMAGE_ROLES or not header.endswith(";base64"):
            raise self._unreachable(item, "InvalidURL", "Only images may be given as base64 data URIs")
        try:
            return base64.b64decode(payload, validate=True)
        except binascii.Error:
            raise self._unreachable(item, "InvalidURL", "The data URI is not valid base64") from None

    def _unreachable(self, item: MediaItem, code: str, message: str) -> MediaFailedError:
        # APIYI docs name InvalidImageUrl; its code for other media is unknown, so DashScope's is used.
        if self.gateway is GatewayName.APIYI and item.role in IMAGE_ROLES:
            code = "InvalidImageUrl"
        return MediaFailedError(code, f"{message} ({item.role})")


@cache
def _tls() -> ssl.SSLContext:
    # Cached, because reading the certificates takes longer than fetching a picture over loopback.
    return httpx.create_ssl_context()


def open_sound_or_video(content: bytes) -> InputContainer:
    """Return an opened WAV, MP3, MP4 or MOV file.

    Playlists and the like are no such file: FFmpeg would open what they name, on this machine's disk or on the web.
    """
    return av.open(io.BytesIO(content), "r", options={"format_whitelist": "mov,mp3,wav"})


def is_image(item: MediaItem) -> bool:
    """Return whether the item is an image."""
    return item.role in IMAGE_ROLES


def is_video(item: MediaItem) -> bool:
    """Return whether the item is a video."""
    return item.role in VIDEO_ROLES


def is_audio(item: MediaItem) -> bool:
    """Return whether the item is audio."""
    return item.role in AUDIO_ROLES


def open_image(content: bytes, item: MediaItem) -> Image.Image:
    """Return an image as RGB.

    :raises MediaFailedError: if it cannot be decoded or exceeds a documented limit.
    """
    try:
        # Transparency is documented as not allowed, but not what happens then; the emulator removes it.
        image = Image.open(io.BytesIO(content), formats=item.rule.formats).convert("RGB")
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError):
        formats = ", ".join(item.rule.formats)
        raise MediaFailedError("InvalidImageFormat", f"{item.role} is none of {formats}") from None
    _check_picture(image.size, item, "InvalidImageResolution")
    return image


def _check_picture(size: tuple[int, int], item: MediaItem, code: str) -> None:
    short, long = sorted(size)
    least, most = item.rule.least_side_px or 0, item.rule.most_side_px or float("inf")
    if short < least or long > most:
        raise MediaFailedError(code, f"{item.role} is {size[0]}x{size[1]}; each side must be {least} to {most} px")
    if item.rule.widest is not None and long / short > item.rule.widest:
        raise MediaFailedError(
            "InvalidFile.AspectRatio", f"{item.role} is {size[0]}x{size[1]}; its ratio is over {item.rule.widest:g}"
        )


def first_picture(content: bytes, item: MediaItem) -> tuple[Image.Image, float]:
    """Return the first frame of a video, and its duration in seconds.

    :raises MediaFailedError: if it cannot be decoded or exceeds a documented limit.
    """
    try:
        with open_sound_or_video(content) as container:
            rate = float(container.streams.video[0].average_rate or 0)
            frame = next(container.decode(video=0))
            seconds = _duration_s(container)
            image: Image.Image = frame.to_image()  # type: ignore[no-untyped-call]
    except (FFmpegError, IndexError, StopIteration):
        raise MediaFailedError("InvalidFile.Openerror", f"{item.role} is not a readable video") from None
    _check_duration(item, seconds)
    _check_picture(image.size, item, "InvalidFile.Resolution")
    if rate and rate < item.rule.slowest_fps:
        raise MediaFailedError("InvalidFile.FPS", f"{item.role} has {rate:g} frames a second; too few")
    return image, seconds


def check_audio(content: bytes, item: MediaItem) -> float:
    """Return the duration of a sound in seconds, if it can be decoded and is within the documented limits.

    :raises MediaFailedError: if not.
    """
    try:
        with open_sound_or_video(content) as container:
            if not container.streams.audio:
                raise MediaFailedError("InvalidFile.Format", f"{item.role} contains no sound")
            seconds = _duration_s(container)
    except FFmpegError:
        raise MediaFailedError("InvalidFile.Format", f"{item.role} is not a WAV or MP3 file") from None
    _check_duration(item, seconds)
    return seconds


def _duration_s(container: InputContainer) -> float:
    return float(container.duration or 0) / av.time_base


def _check_duration(item: MediaItem, seconds: float) -> None:
    least, most = item.rule.shortest_s, item.rule.longest_s
    if not least - _DURATION_TOLERANCE_S <= seconds <= most + _DURATION_TOLERANCE_S:
        raise MediaFailedError(
            "InvalidFile.Duration", f"{item.role} lasts {seconds:.1f} s; it must last {least:g} to {most:g} s"
        )


def _check_bytes(item: MediaItem, count: int) -> None:
    limit = item.rule.most_bytes
    if count > limit:
        raise MediaFailedError("InvalidFile.Size", f"{item.role} is larger than {limit // _MB} MB")
