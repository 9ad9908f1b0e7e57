"""The mp4 itself: a still slowly zoomed, with sound, rendered by PyAV."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from typing import TYPE_CHECKING, cast

import av
from av.audio.resampler import AudioResampler
from av.filter import Graph
from PIL import Image, ImageDraw, ImageFont, ImageOps

if TYPE_CHECKING:
    from collections.abc import Iterator

    from av.filter.context import FilterContext

FPS = 24
# The zoom moves this many times a second; the frames between are repeated, for a new one costs twice its encoding.
_STEPS_PER_SECOND = 4
# 48 kHz is a whole number of samples for each of 24 frames a second.
_SAMPLE_RATE = 48_000
_BYTES_PER_SAMPLE = 4  # 16-bit stereo
_MARK = "emulated"

# The zoom goes from the whole picture to 8/9 of it; the mark stands inside what stays visible.
_ZOOM = 0.125
# The still is kept larger than the video, so that the zoom has pixels to spend.
_OVERSIZE = 1.25

# Pixels of a frame by tier (Alibaba docs: 720P is 1280x720, 1080P 1920x1080; 480P taken as 854x480).
_PIXELS = {"480P": 854 * 480, "720P": 1280 * 720, "1080P": 1920 * 1080}
# Alibaba docs, wan2.7-t2v sizes.
_SIZES = {
    ("720P", "16:9"): (1280, 720),
    ("720P", "9:16"): (720, 1280),
    ("720P", "1:1"): (960, 960),
    ("720P", "4:3"): (1104, 832),
    ("720P", "3:4"): (832, 1104),
    ("1080P", "16:9"): (1920, 1080),
    ("1080P", "9:16"): (1080, 1920),
    ("1080P", "1:1"): (1440, 1440),
    ("1080P", "4:3"): (1648, 1248),
    ("1080P", "3:4"): (1248, 1648),
}


@dataclass(frozen=True)
class Scene:
    """Everything a render depends on."""

    first: Image.Image
    last: Image.Image | None
    audio: bytes | None
    width: int
    height: int
    seconds: int


def size_as(picture: tuple[int, int], resolution: str) -> tuple[int, int]:
    """Return the even frame size of a tier that keeps a picture's ratio."""
    scale = math.sqrt(_PIXELS[resolution] / (picture[0] * picture[1]))
    return _even(picture[0] * scale), _even(picture[1] * scale)


def size_of(resolution: str, ratio: str) -> tuple[int, int]:
    """Return the frame size of a tier and a ratio such as "16:9"."""
    known = _SIZES.get((resolution, ratio))
    if known is not None:
        return known
    wide, _, high = ratio.partition(":")
    # "adaptive" has nothing to adapt to without a picture.
    return size_as((int(wide), int(high)) if high else (16, 9), resolution)


def blank_still(text: str) -> Image.Image:
    """Return a still for a task that was given none, its colours drawn from the prompt."""
    hue = sum(text.encode()) % 256
    shade = Image.linear_gradient("L").resize((640, 360))
    full = Image.new("L", shade.size, 160)
    return Image.merge("HSV", (Image.new("L", shade.size, hue), full, shade)).convert("RGB")


def render(scene: Scene) -> bytes:
    """Return the mp4 of a scene: h264 and AAC, 24 frames a second."""
    target = io.BytesIO()
    with av.open(target, "w", format="mp4") as container:
        container.metadata["title"] = _MARK
        video = container.add_stream("libx264", rate=FPS)
        video.width, video.height, video.pix_fmt = scene.width, scene.height, "yuv420p"
        # The fastest preset, and a constant quantizer, which spares x264 its analysis: the pictures need not be small.
        video.options = {"preset": "ultrafast", "qp": "18"}
        sound = container.add_stream("aac", rate=_SAMPLE_RATE, layout="stereo")
        # Frame by frame, so that the muxer never has to hold a whole track.
        for picture, samples in zip(_pictures(scene), _samples(scene), strict=True):
            container.mux(video.encode(picture))
            container.mux(sound.encode(samples))
        container.mux(video.encode(None))
        container.mux(sound.encode(None))
    return target.getvalue()


def _even(length: float) -> int:
    return max(2, round(length / 2) * 2)


def _pictures(scene: Scene) -> Iterator[av.VideoFrame]:
    """Yield the frames: each step of the zoom, repeated until the next."""
    repeats = FPS // _STEPS_PER_SECOND
    for step, frame in enumerate(_steps(scene)):
        for number in range(step * repeats, (step + 1) * repeats):
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            yield frame


def _steps(scene: Scene) -> Iterator[av.VideoFrame]:
    """Yield the steps of the zoom, from an ffmpeg graph: Pillow needs three times as long for the same zoom."""
    graph = Graph()
    stills = [_prepared(still, scene) for still in (scene.first, scene.last) if still is not None]
    sources, zooms = zip(*(_add_zoom(graph, still.size, scene) for still in stills), strict=True)
    sink = graph.add("buffersink")
    if len(zooms) == 1:
        zooms[0].link_to(sink)
    else:
        # Not what the model does: one still simply melts into the other over the whole video.
        fade = graph.add("xfade", f"transition=fade:duration={scene.seconds - 0.5}:offset=0.25")
        for pad, zoom in enumerate(zooms):
            zoom.link_to(fade, 0, pad)
        fade.link_to(sink)
    graph.configure()
    for source, still in zip(sources, stills, strict=True):
        frame = av.VideoFrame.from_image(still)  # type: ignore[no-untyped-call]
        frame.pts, frame.time_base = 0, Fraction(1, _STEPS_PER_SECOND)
        source.push(frame)
        source.push(None)
    # xfade repeats a few frames at its end; the video's length is what was ordered.
    yield from islice(_pulled(sink), scene.seconds * _STEPS_PER_SECOND)


def _add_zoom(graph: Graph, size: tuple[int, int], scene: Scene) -> tuple[FilterContext, FilterContext]:
    width, height = size
    rate, frames = _STEPS_PER_SECOND, scene.seconds * _STEPS_PER_SECOND
    source = graph.add("buffer", f"video_size={width}x{height}:pix_fmt=rgb24:time_base=1/{rate}:frame_rate={rate}")
    planar = graph.add("format", "yuv420p")
    zoom = graph.add(
        "zoompan",
        f"z=1+{_ZOOM}*on/{frames}:x=(iw-iw/zoom)/2:y=(ih-ih/zoom)/2"
        f":d={frames}:s={scene.width}x{scene.height}:fps={rate}",
    )
    source.link_to(planar)
    planar.link_to(zoom)
    return source, zoom


def _pulled(sink: FilterContext) -> Iterator[av.VideoFrame]:
    while True:
        try:
            frame = sink.pull()
        except (EOFError, BlockingIOError):
            return
        yield cast("av.VideoFrame", frame)


def _prepared(still: Image.Image, scene: Scene) -> Image.Image:
    """Cut a still to the frame's ratio, a little larger than the frame, and burn the mark in."""
    size = _even(scene.width * _OVERSIZE), _even(scene.height * _OVERSIZE)
    picture = ImageOps.fit(still, size, Image.Resampling.BILINEAR)
    letters = ImageFont.load_default(size=max(12, size[1] // 16))
    ImageDraw.Draw(picture).text(
        (size[0] * 0.08, size[1] * 0.84), _MARK, fill="white", font=letters, stroke_width=3, stroke_fill="black"
    )
    return picture


def _samples(scene: Scene) -> Iterator[av.AudioFrame]:
    """Yield the sound that belongs to each picture: the driving audio cut or padded, or silence."""
    count = _SAMPLE_RATE // FPS
    step = count * _BYTES_PER_SAMPLE
    total = scene.seconds * FPS * step
    pcm = _pcm(scene.audio, total) if scene.audio else b""
    pcm = pcm[:total].ljust(total, b"\0")
    for number in range(scene.seconds * FPS):
        frame = av.AudioFrame(format="s16", layout="stereo", samples=count)
        frame.planes[0].update(pcm[number * step : (number + 1) * step])
        frame.sample_rate = _SAMPLE_RATE
        frame.pts, frame.time_base = number * count, Fraction(1, _SAMPLE_RATE)
        yield frame


def _pcm(audio: bytes, enough: int) -> bytes:
    pcm = bytearray()
    resampler = AudioResampler(format="s16", layout="stereo", rate=_SAMPLE_RATE)
    with av.open(io.BytesIO(audio), "r") as container:
        for frame in container.decode(audio=0):
            for piece in resampler.resample(frame):
                pcm += bytes(piece.planes[0])[: piece.samples * _BYTES_PER_SAMPLE]
            if len(pcm) >= enough:
                break
    return bytes(pcm)
