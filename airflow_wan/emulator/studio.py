"""Worker threads that fetch a task's media and render its mp4, each distinct mp4 once."""

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
from airflow_wan.emulator.orders import Failure, MediaItem, Order

if TYPE_CHECKING:
    from collections.abc import Callable

    from PIL import Image

    from airflow_wan.emulator.clock import Clock

log = logging.getLogger(__name__)

# More than the cores of a small machine, because a worker may be waiting for a slow media server.
_WORKERS = 4
_CACHE_BYTES = 256 * 1024 * 1024
# Alibaba docs: an edited clip lasts as its source does, 2-10 s.
_SHORTEST_CLIP_S, _LONGEST_CLIP_S = 2, 10


@dataclass(frozen=True)
class Film:
    """A finished mp4 and what `usage` says of it."""

    content: bytes
    width: int
    height: int
    seconds: int
    input_seconds: float


@dataclass(frozen=True)
class Outcome:
    """How the work on a task ended, and when by the emulator's clock."""

    at: float
    result: Film | Failure


class _Shelf:
    """Rendered mp4s by what they depend on.

    All emulators of the process share one, so that a test suite that asks for the same five seconds again and again
    renders them once.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._films: OrderedDict[str, Future[bytes]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, key: str, make: Callable[[], bytes]) -> bytes:
        """Return the mp4 of `key`, made here unless another thread has made it or is about to."""
        with self._lock:
            film = self._films.get(key)
            is_mine = film is None
            film = film or self._films.setdefault(key, Future())
            self._films.move_to_end(key)
        if is_mine:
            try:
                film.set_result(make())
            except BaseException as error:
                self._films.pop(key)
                film.set_exception(error)
                raise
            self._trim()
        return film.result()

    def _trim(self) -> None:
        with self._lock:
            sizes = {key: len(film.result()) for key, film in self._films.items() if film.done()}
            total = sum(sizes.values())
            for key, size in sizes.items():
                if total <= self._limit:
                    return
                del self._films[key]
                total -= size


_SHELF = _Shelf(_CACHE_BYTES)


class Studio:
    """Films orders in the background."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="wan-emulator-render")

    def start(self, order: Order, fetcher: media.Fetcher) -> Future[Outcome]:
        """Begin to film `order`; an order that cannot succeed is not filmed at all."""
        if order.doom is None:
            return self._pool.submit(self._work, order, fetcher)
        done: Future[Outcome] = Future()
        done.set_result(Outcome(self._clock.now(), order.doom))
        return done

    def close(self) -> None:
        """Drop what has not begun and wait for what has."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _work(self, order: Order, fetcher: media.Fetcher) -> Outcome:
        try:
            result: Film | Failure = _film(order, fetcher)
        except media.MediaFailedError as error:
            result = error.failure
        except Exception:
            log.exception("The emulator could not render an order of %s", order.model)
            result = Failure("InternalError.Algo", "The emulator could not render this video; see its log.")
        return Outcome(self._clock.now(), result)


def _film(order: Order, fetcher: media.Fetcher) -> Film:
    files = [(item, fetcher.fetch(item)) for item in order.media if _is_fetched(item)]
    pictures: dict[str, Image.Image] = {}
    audio: bytes | None = None
    clip_seconds = 0.0
    for item, content in files:
        if media.is_image(item):
            pictures.setdefault(item.role, media.open_image(content, item.role, order.least_image_side_px))
        elif media.is_video(item):
            picture, clip_seconds = media.first_picture(content, item.role)
            pictures.setdefault(item.role, picture)
        else:
            media.check_audio(content, item.role)
            # Only these two are heard; a reference voice would be imitated, which nothing here can do.
            audio = content if item.role in ("driving_audio", "reference_audio") else audio
    last = pictures.pop("last_frame", None)
    first = pictures.get("first_frame") or next(iter(pictures.values()), None)

    width, height = _frame_size(order, first)
    seconds = order.duration_s or min(max(_SHORTEST_CLIP_S, round(clip_seconds)), _LONGEST_CLIP_S)
    key = _key(files, order, (width, height, seconds))
    still = first or video.blank_still(order.prompt)
    scene = video.Scene(still, last, audio, width, height, seconds)
    mp4 = _SHELF.take(key, lambda: video.render(scene))
    return Film(mp4, width, height, seconds, clip_seconds)


def _is_fetched(item: MediaItem) -> bool:
    # wan3.0's `file` and `link` are documents and pages: nothing to film.
    return media.is_image(item) or media.is_video(item) or media.is_audio(item)


def _frame_size(order: Order, first: Image.Image | None) -> tuple[int, int]:
    if order.size is not None:
        return order.size
    follows_picture = order.mode is Mode.IMAGE or order.ratio in ("", "adaptive")
    if first is not None and (follows_picture or any(item.role == "first_frame" for item in order.media)):
        return video.size_as(first.size, order.resolution)
    return video.size_of(order.resolution, order.ratio)


def _key(files: list[tuple[MediaItem, bytes]], order: Order, shape: tuple[int, int, int]) -> str:
    digest = hashlib.sha256(repr((shape, order.prompt if not files else "")).encode())
    for item, content in files:
        digest.update(f"{item.role}:{len(content)}:".encode())
        digest.update(content)
    return digest.hexdigest()
