"""Rendering of an mp4 with PyAV: a slow zoom into a still picture, with sound."""

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

from airflow_wan.emulator.media import open_sound_or_video

if TYPE_CHECKING:
    from collections.abc import Iterator

    from av.filter.context import FilterContext

FPS = 24
"""Frames a second of every video."""
# A step of the zoom is repeated until the next one, because drawing a frame takes twice as long as encoding it.
_ZOOM_STEPS_PER_SECOND = 4
# 48 kHz is a whole number of samples for each of 24 frames a second.
_SAMPLE_RATE = 48_000
_BYTES_PER_SAMPLE = 4  # 16-bit stereo
_WATERMARK = "emulated"

# The zoom ends at 8/9 of the picture; the watermark is inside the part that stays visible.
_ZOOM = 0.125
# The still is larger than the video, so that the zoom loses no detail.
_OVERSIZE = 1.25

# Pixels of a frame by resolution (Alibaba docs: 720P is 1280x720, 1080P is 1920x1080; 480P is assumed as 854x480).
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
    """The input of `render`; sizes are in pixels.

    :param first: the still at the beginning.
    :param last: the still at the end; None repeats the first.
    :param audio: a sound file, which is cut or padded with silence; None is silence.
    :param has_sound: whether there is a sound track.
    """

    first: Image.Image
    last: Image.Image | None
    audio: bytes | None
    width: int
    height: int
    seconds: int
    has_sound: bool = True


def size_as(picture: tuple[int, int], resolution: str) -> tuple[int, int]:
    """Return the frame size in pixels (even numbers) of a resolution such as "720P", with the ratio of a picture."""
    scale = math.sqrt(_PIXELS[resolution] / (picture[0] * picture[1]))
    return _even(picture[0] * scale), _even(picture[1] * scale)


def size_of(resolution: str, ratio: str) -> tuple[int, int]:
    """Return the frame size in pixels of a resolution such as "720P" and a ratio such as "16:9"."""
    known = _SIZES.get((resolution, ratio))
    if known is not None:
        return known
    wide, _, high = ratio.partition(":")
    # Without a picture, "adaptive" means 16:9.
    return size_as((int(wide), int(high)) if high else (16, 9), resolution)


def blank_still(text: str) -> Image.Image:
    """Return a still for a task without a picture; its colours depend on the prompt."""
    hue = sum(text.encode()) % 256
    shade = Image.linear_gradient("L").resize((640, 360))
    full = Image.new("L", shade.size, 160)
    return Image.merge("HSV", (Image.new("L", shade.size, hue), full, shade)).convert("RGB")


def render(scene: Scene) -> bytes:
    """Return the mp4 of a scene: H.264 and, if it has sound, AAC; 24 frames a second."""
    target = io.BytesIO()
    with av.open(target, "w", format="mp4") as container:
        container.metadata["title"] = _WATERMARK
        video = container.add_stream("libx264", rate=FPS)
        video.width, video.height, video.pix_fmt = scene.width, scene.height, "yuv420p"
        # The fastest settings, as the size of the file does not matter; a constant quantizer saves x264 its analysis.
        video.options = {"preset": "ultrafast", "qp": "18"}
        sound = container.add_stream("aac", rate=_SAMPLE_RATE, layout="stereo") if scene.has_sound else None
        # Frame by frame, so that the muxer does not have to keep a whole track.
        for picture, samples in zip(_pictures(scene), _samples(scene), strict=True):
            container.mux(video.encode(picture))
            if sound is not None:
                container.mux(sound.encode(samples))
        container.mux(video.encode(None))
        if sound is not None:
            container.mux(sound.encode(None))
    return target.getvalue()


def _even(length: float) -> int:
    return max(2, round(length / 2) * 2)


def _pictures(scene: Scene) -> Iterator[av.VideoFrame]:
    """Yield every frame: each step of the zoom, repeated until the next one."""
    repeats = FPS // _ZOOM_STEPS_PER_SECOND
    for step, frame in enumerate(_steps(scene)):
        for number in range(step * repeats, (step + 1) * repeats):
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            yield frame


def _steps(scene: Scene) -> Iterator[av.VideoFrame]:
    """Yield one frame for each step of the zoom, from an ffmpeg graph, because Pillow takes three times as long."""
    graph = Graph()
    stills = [_prepared(still, scene) for still in (scene.first, scene.last) if still is not None]
    sources, zooms = zip(*(_add_zoom(graph, still.size, scene) for still in stills), strict=True)
    sink = graph.add("buffersink")
    if len(zooms) == 1:
        zooms[0].link_to(sink)
    else:
        # The model does not do this: one still simply fades into the other over the whole video.
        fade = graph.add("xfade", f"transition=fade:duration={scene.seconds - 0.5}:offset=0.25")
        for input_index, zoom in enumerate(zooms):
            zoom.link_to(fade, 0, input_index)
        fade.link_to(sink)
    graph.configure()
    for source, still in zip(sources, stills, strict=True):
        frame = av.VideoFrame.from_image(still)  # type: ignore[no-untyped-call]
        frame.pts, frame.time_base = 0, Fraction(1, _ZOOM_STEPS_PER_SECOND)
        source.push(frame)
        source.push(None)
    # xfade adds a few frames at its end; the video is as long as it was ordered.
    yield from islice(_frames_of(sink), scene.seconds * _ZOOM_STEPS_PER_SECOND)


def _add_zoom(graph: Graph, size: tuple[int, int], scene: Scene) -> tuple[FilterContext, FilterContext]:
    width, height = size
    rate, frames = _ZOOM_STEPS_PER_SECOND, scene.seconds * _ZOOM_STEPS_PER_SECOND
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


def _frames_of(sink: FilterContext) -> Iterator[av.VideoFrame]:
    while True:
        try:
            frame = sink.pull()
        except (EOFError, BlockingIOError):
            return
        yield cast("av.VideoFrame", frame)


def _prepared(still: Image.Image, scene: Scene) -> Image.Image:
    """Return a still with the ratio of the frame, a little larger than the frame, with the watermark."""
    size = _even(scene.width * _OVERSIZE), _even(scene.height * _OVERSIZE)
    picture = ImageOps.fit(still, size, Image.Resampling.BILINEAR)
    letters = ImageFont.load_default(size=max(12, size[1] // 16))
    ImageDraw.Draw(picture).text(
        (size[0] * 0.08, size[1] * 0.84), _WATERMARK, fill="white", font=letters, stroke_width=3, stroke_fill="black"
    )
    return picture


def _samples(scene: Scene) -> Iterator[av.AudioFrame]:
    """Yield the sound of each frame: the audio, cut or padded with silence."""
    count = _SAMPLE_RATE // FPS
    frame_bytes = count * _BYTES_PER_SAMPLE
    total = scene.seconds * FPS * frame_bytes
    pcm = _decoded(scene.audio, total) if scene.audio else b""
    pcm = pcm[:total].ljust(total, b"\0")
    for number in range(scene.seconds * FPS):
        frame = av.AudioFrame(format="s16", layout="stereo", samples=count)
        frame.planes[0].update(pcm[number * frame_bytes : (number + 1) * frame_bytes])
        frame.sample_rate = _SAMPLE_RATE
        frame.pts, frame.time_base = number * count, Fraction(1, _SAMPLE_RATE)
        yield frame


def _decoded(audio: bytes, limit_bytes: int) -> bytes:
    pcm = bytearray()
    resampler = AudioResampler(format="s16", layout="stereo", rate=_SAMPLE_RATE)
    with open_sound_or_video(audio) as container:
        for frame in container.decode(audio=0):
            for piece in resampler.resample(frame):
                pcm += bytes(piece.planes[0])[: piece.samples * _BYTES_PER_SAMPLE]
            if len(pcm) >= limit_bytes:
                break
    return bytes(pcm)
