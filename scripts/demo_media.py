"""Makes the media of the demo: a painted boy under a railway bridge, a beat, and three products."""

from __future__ import annotations

import math
import random
import struct
import wave
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFilter

from airflow_wan.emulator.video import Scene, render

if TYPE_CHECKING:
    from pathlib import Path

_SIZE = (1280, 720)
_RATE = 16_000  # samples per second
_BEATS_A_MINUTE = 92
_BARS = 2


def make_media(folder: Path) -> Path:
    """Make every file that the example DAGs use, and return their folder."""
    (folder / "products").mkdir(parents=True, exist_ok=True)
    _draw_first_frame(folder / "rap.png")
    _play_driving_audio(folder / "rap.wav")
    for name, colour in (("mug", "teal"), ("lamp", "goldenrod"), ("chair", "firebrick")):
        _draw_product(folder / "products" / f"{name}.png", name, colour)
    _film_clip(folder / "clip.mp4", folder / "rap.png")
    return folder


def _film_clip(path: Path, still: Path) -> None:
    """Make the clip that the editing example changes: the emulator zooms into the first frame."""
    path.write_bytes(render(Scene(Image.open(still), None, None, *_SIZE, seconds=3)))


def _draw_product(path: Path, name: str, colour: str) -> None:
    """Draw a product before a wall in its colour, with a shadow on the table."""
    light = Image.radial_gradient("L").resize(_SIZE)
    picture = Image.composite(Image.new("RGB", _SIZE, "#141722"), Image.new("RGB", _SIZE, colour), light)
    table = ImageDraw.Draw(picture, "RGBA")
    table.rectangle((0, 560, 1280, 720), fill=(0, 0, 0, 90))
    shadow = Image.new("RGBA", _SIZE)
    ImageDraw.Draw(shadow).ellipse((430, 540, 870, 610), fill=(0, 0, 0, 170))
    picture.paste(shadow, (0, 0), shadow.filter(ImageFilter.GaussianBlur(18)))
    _PRODUCTS[name](ImageDraw.Draw(picture))
    picture.save(path)


def _mug(draw: ImageDraw.ImageDraw) -> None:
    draw.ellipse((690, 330, 850, 510), outline="#e8e4da", width=34)
    draw.rounded_rectangle((470, 260, 740, 580), radius=44, fill="#f4f0e6")
    draw.ellipse((470, 226, 740, 296), fill="#d8d2c4")
    draw.ellipse((494, 238, 716, 286), fill="#5a3825")


def _lamp(draw: ImageDraw.ImageDraw) -> None:
    draw.rectangle((626, 330, 654, 560), fill="#3a3a40")
    draw.ellipse((530, 545, 750, 590), fill="#3a3a40")
    draw.polygon([(540, 150), (740, 150), (830, 350), (450, 350)], fill="#fff3cf")
    draw.ellipse((450, 330, 830, 370), fill="#ffe08a")


def _chair(draw: ImageDraw.ImageDraw) -> None:
    for left, top in ((500, 420), (750, 420), (540, 410), (716, 410)):
        draw.rectangle((left, top, left + 24, 580), fill="#7a4a26")
    draw.rounded_rectangle((516, 150, 764, 400), radius=30, fill="#a5672f")
    draw.rounded_rectangle((546, 180, 734, 370), radius=20, fill="#c98a4b")
    draw.rounded_rectangle((486, 390, 794, 446), radius=20, fill="#a5672f")


_PRODUCTS = {"mug": _mug, "lamp": _lamp, "chair": _chair}


def _draw_first_frame(path: Path) -> None:
    picture = _night_sky()
    _glow(picture, (1030, 150), radius=54, colour=(255, 236, 190))
    draw = ImageDraw.Draw(picture)
    _bridge(draw)
    _wall(draw)
    paint = Image.new("RGBA", _SIZE)
    _boy(ImageDraw.Draw(paint))
    # Spray paint has a soft edge and a mist around it.
    picture.paste(paint.filter(ImageFilter.GaussianBlur(16)), (0, 0), paint.filter(ImageFilter.GaussianBlur(18)))
    soft = paint.filter(ImageFilter.GaussianBlur(2))
    picture.paste(soft, (0, 0), soft)
    picture.save(path)


def _night_sky() -> Image.Image:
    top, bottom = Image.new("RGB", _SIZE, (14, 16, 44)), Image.new("RGB", _SIZE, (196, 98, 112))
    sky = Image.composite(bottom, top, Image.linear_gradient("L").resize(_SIZE))
    draw = ImageDraw.Draw(sky)
    stars = random.Random(7)
    for _ in range(140):
        x, y, light = stars.randrange(_SIZE[0]), stars.randrange(300), stars.randrange(120, 255)
        draw.point((x, y), fill=(light, light, light))
    return sky


def _glow(picture: Image.Image, centre: tuple[int, int], *, radius: int, colour: tuple[int, int, int]) -> None:
    x, y = centre
    for spread, strength in ((3.2, 60), (1.0, 255)):
        light = Image.new("L", _SIZE)
        reach = radius * spread
        ImageDraw.Draw(light).ellipse((x - reach, y - reach, x + reach, y + reach), fill=strength)
        blur = ImageFilter.GaussianBlur(radius * (spread - 1) / 2 + 1.5)
        picture.paste(Image.new("RGB", _SIZE, colour), (0, 0), light.filter(blur))


def _bridge(draw: ImageDraw.ImageDraw) -> None:
    steel = (24, 22, 38)
    draw.rectangle((0, 236, 1280, 292), fill=steel)
    for x in range(0, 1280, 64):
        draw.line((x, 236, x + 32, 190, x + 64, 236), fill=steel, width=7)
    draw.line((0, 190, 1280, 190), fill=steel, width=9)
    for x in (40, 1180):
        draw.polygon(((x, 292), (x + 70, 292), (x + 56, 620), (x + 14, 620)), fill=steel)


def _wall(draw: ImageDraw.ImageDraw) -> None:
    draw.rectangle((150, 350, 1130, 640), fill=(70, 44, 56))
    shade = random.Random(11)
    for row, y in enumerate(range(350, 640, 29)):
        for x in range(150 - 40 * (row % 2), 1130, 80):
            light = shade.randrange(-9, 10)
            brick = (112 + light, 58 + light, 62 + light)
            draw.rectangle((max(x, 150), y, min(x + 77, 1130), y + 26), fill=brick)
    draw.rectangle((0, 640, 1280, 720), fill=(30, 26, 40))
    for y in range(652, 720, 16):
        draw.line((0, y, 1280, y), fill=(40, 35, 52), width=3)


def _boy(draw: ImageDraw.ImageDraw) -> None:
    skin, hood, ink, cap = (255, 214, 170, 255), (38, 208, 190, 255), (22, 20, 40, 255), (255, 92, 138, 255)
    draw.rounded_rectangle((560, 492, 720, 640), radius=44, fill=hood)  # jumper
    draw.line((590, 540, 500, 580, 520, 500), fill=hood, width=34, joint="curve")  # the arm that waves
    draw.ellipse((502, 474, 538, 510), fill=skin)
    draw.line((690, 540, 760, 520, 706, 470), fill=hood, width=34, joint="curve")  # the arm with the microphone
    draw.ellipse((566, 366, 714, 514), fill=skin)  # head
    draw.pieslice((556, 346, 724, 500), 180, 360, fill=cap)
    draw.rounded_rectangle((676, 404, 776, 424), radius=10, fill=cap)
    for x in (612, 668):
        draw.ellipse((x - 9, 430, x + 9, 452), fill=ink)
    draw.chord((614, 448, 666, 500), 0, 180, fill=ink)  # open mouth
    draw.line((712, 476, 684, 466), fill=ink, width=16)
    draw.ellipse((664, 450, 694, 480), fill=(205, 210, 225, 255))


def _play_driving_audio(path: Path) -> None:
    """Play two bars of drums and bass into a WAV file."""
    beat = 60 / _BEATS_A_MINUTE
    noise = random.Random(3)
    samples = []
    for number in range(int(_BARS * 4 * beat * _RATE)):
        at_s = number / _RATE
        in_beat, in_half = at_s % beat, at_s % (beat / 2)
        kick = math.sin(2 * math.pi * (50 * in_beat + 3 * (1 - math.exp(-30 * in_beat)))) * math.exp(-9 * in_beat)
        snare = noise.uniform(-1, 1) * math.exp(-22 * in_beat) if int(at_s / beat) % 2 else 0.0
        hat = noise.uniform(-1, 1) * math.exp(-70 * in_half)
        pitch = (55.0, 55.0, 65.4, 49.0)[int(at_s / beat) % 4]
        bass = math.sin(2 * math.pi * pitch * at_s) * math.exp(-2 * in_half)
        samples.append(0.5 * kick + 0.25 * snare + 0.08 * hat + 0.3 * bass)
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(_RATE)
        sound.writeframes(b"".join(struct.pack("<h", int(26_000 * max(-1, min(1, value)))) for value in samples))
