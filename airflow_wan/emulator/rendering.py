"""Worker threads that fetch the media of a task and render its mp4; each distinct mp4 is rendered once."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_wan.emulator import media, video
from airflow_wan.emulator.catalogue import Mode
from airflow_wan.emulator.validation import Failure, MediaItem, Order

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from PIL import Image

    from airflow_wan.emulator.clock import Clock

log = logging.getLogger(__name__)

# More than the cores of a small machine, because a worker may be waiting for a slow media server.
_WORKERS = 4
_CACHE_BYTES = 256 * 1024 * 1024
# A length that misses a limit by less is taken, and billed as the limit: encoding changes a file's length a little.
_TOLERANCE_S = 0.1


@dataclass(frozen=True)
class RenderedVideo:
    """A finished mp4 and its measures, which `usage` reports; of the input, the seconds that are billed."""

    content: bytes
    width_px: int
    height_px: int
    duration_s: int
    input_duration_s: float


@dataclass(frozen=True)
class Outcome:
    """The end of the work on a task: the emulator's time, and the video or the failure."""

    at: float
    result: RenderedVideo | Failure


class _Cache:
    """Rendered mp4s by a digest of everything that they depend on.

    All emulators of a process share one, so that a test suite renders the same five seconds only once.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._mp4s: OrderedDict[str, Future[bytes]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str, render: Callable[[], bytes]) -> bytes:
        """Return the mp4 of `key`; call `render` unless another thread has done so or is doing so."""
        with self._lock:
            mp4 = self._mp4s.get(key)
            is_new = mp4 is None
            mp4 = mp4 or self._mp4s.setdefault(key, Future())
            self._mp4s.move_to_end(key)
        if is_new:
            try:
                mp4.set_result(render())
            except BaseException as error:
                self._mp4s.pop(key)
                mp4.set_exception(error)
                raise
            self._trim()
        return mp4.result()

    def _trim(self) -> None:
        """Remove the mp4s that were used least recently until the rest fit into the limit."""
        with self._lock:
            sizes = {key: len(mp4.result()) for key, mp4 in self._mp4s.items() if mp4.done()}
            total = sum(sizes.values())
            for key, size in sizes.items():
                if total <= self._limit_bytes:
                    return
                del self._mp4s[key]
                total -= size


_CACHE = _Cache(_CACHE_BYTES)


class RenderPool:
    """The worker threads of one emulator."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="wan-emulator-render")

    def start(self, order: Order, fetcher: media.Fetcher) -> Future[Outcome]:
        """Begin to render `order` in the background; an order that is certain to fail is not rendered."""
        if order.certain_failure is None:
            return self._pool.submit(self._work, order, fetcher)
        done: Future[Outcome] = Future()
        done.set_result(Outcome(self._clock.now(), order.certain_failure))
        return done

    def close(self) -> None:
        """Cancel the work that has not begun and wait for the rest."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _work(self, order: Order, fetcher: media.Fetcher) -> Outcome:
        try:
            result: RenderedVideo | Failure = _render(order, fetcher)
        except media.MediaFailedError as error:
            result = error.failure
        except Exception:
            log.exception("The emulator could not render a video of the model %s", order.model)
            result = Failure("InternalError.Algo", "The emulator could not render this video; see its log.")
        return Outcome(self._clock.now(), result)


def _render(order: Order, fetcher: media.Fetcher) -> RenderedVideo:
    files = [(item, fetcher.fetch(item)) for item in order.media if _is_fetched(item)]
    pictures: dict[str, Image.Image] = {}
    audio: bytes | None = None
    clips: list[tuple[MediaItem, float]] = []
    sounds_s = 0.0
    for item, content in files:
        if media.is_image(item):
            pictures.setdefault(item.role, media.open_image(content, item))
        elif media.is_video(item):
            picture, clip_s = media.first_picture(content, item)
            pictures.setdefault(item.role, picture)
            clips.append((item, clip_s))
        else:
            sound_s = media.check_audio(content, item)
            sounds_s += sound_s if item.role == "reference_audio" else 0
            # A reference_voice is not heard: the emulator cannot imitate a voice.
            audio = content if item.role in ("driving_audio", "reference_audio") else audio
    last = pictures.pop("last_frame", None)
    first = pictures.get("first_frame") or next(iter(pictures.values()), None)

    width, height = _frame_size(order, first)
    _check_together(sounds_s, order.spec.sounds_together_s, "the sounds")
    duration_s, input_s = seconds_of(order, clips)
    key = _cache_key(files, order, (width, height, duration_s, order.has_sound))

    def render() -> bytes:
        still = first or video.blank_still(order.prompt)
        scene = video.Scene(still, last, audio, width, height, duration_s, has_sound=order.has_sound)
        return video.render(scene)

    mp4 = _CACHE.get(key, render)
    return RenderedVideo(mp4, width, height, duration_s, input_s)


def seconds_of(order: Order, clips: Sequence[tuple[MediaItem, float]]) -> tuple[int, float]:
    """Return the seconds of the output, and the seconds of the input that are billed.

    :param clips: each input video, and how many seconds it lasts.
    :raises MediaFailedError: if the clips, or clips and output, last too long together.
    """
    spec = order.spec
    lengths = [min(length, item.rule.longest_s) for item, length in clips]
    total = sum(lengths)
    _check_together(total, spec.clips_together_s, "the clips")
    duration_s = order.duration_s
    if spec.mode is Mode.EDIT:
        # Alibaba docs: an edited clip is as long as its source; `duration` only cuts it.
        source_s = min(max(spec.shortest_s, round(total)), spec.longest_s)
        duration_s = min(duration_s, source_s) if duration_s else source_s
    if clips:
        _check_together(total + duration_s, spec.in_all_s, "input and output")
    return duration_s, min(total, spec.clips_together_s, spec.billed_input_s)


def _check_together(seconds: float, limit: float, what: str) -> None:
    if seconds > limit + _TOLERANCE_S:
        raise media.MediaFailedError(
            "InvalidFile.Duration", f"{what} last {seconds:.1f} s together; at most {limit:g} s are allowed"
        )


def _is_fetched(item: MediaItem) -> bool:
    # The `file` and `link` of wan3.0 are documents and web pages, which the emulator cannot show.
    return media.is_image(item) or media.is_video(item) or media.is_audio(item)


def _frame_size(order: Order, first: Image.Image | None) -> tuple[int, int]:
    if order.size is not None:
        return order.size
    follows_picture = order.mode is Mode.IMAGE or order.ratio in ("", "adaptive")
    if first is not None and (follows_picture or any(item.role == "first_frame" for item in order.media)):
        return video.size_as(first.size, order.resolution)
    return video.size_of(order.resolution, order.ratio)


def _cache_key(files: list[tuple[MediaItem, bytes]], order: Order, shape: tuple[int, int, int, bool]) -> str:
    digest = hashlib.sha256(repr((shape, order.prompt if not files else "")).encode())
    for item, content in files:
        digest.update(f"{item.role}:{len(content)}:".encode())
        digest.update(content)
    return digest.hexdigest()
