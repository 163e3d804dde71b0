"""Drawing: shapes, textures and backgrounds, on a frame whose opposite borders meet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from jaxtyping import Float

Plane: TypeAlias = Float[np.ndarray, "time height width"]
Colour: TypeAlias = Float[np.ndarray, "channel"]
Track: TypeAlias = Float[np.ndarray, "time"]
Offsets: TypeAlias = tuple[Float[np.ndarray, "time height 1"], Float[np.ndarray, "time 1 width"]]

# Signed distances to outlines, negative inside, in units of half the shape's size.
SHAPES: dict[str, Callable[[Plane, Plane], Plane]] = {
    "disc": lambda u, v: np.hypot(u, v) - 0.9,
    "square": lambda u, v: np.maximum(abs(u), abs(v)) - 0.8,
    "triangle": lambda u, v: np.maximum(v - 0.7, 0.866 * abs(u) - 0.5 * v - 0.47),
    "cross": lambda u, v: np.minimum(_box(u, v, 0.95, 0.32), _box(u, v, 0.32, 0.95)),
    "ring": lambda u, v: abs(np.hypot(u, v) - 0.68) - 0.25,
    "diamond": lambda u, v: 0.707 * (abs(u) + abs(v) - 1),
    "beam": lambda u, v: _box(u, v, 1.0, 0.38),
    "pillar": lambda u, v: _box(u, v, 0.38, 1.0),
}

# How much of the second colour, from 0 to 1, by place on the shape.
TEXTURES: dict[str, Callable[[Plane, Plane], Plane]] = {
    "plain": lambda u, v: np.zeros_like(u),
    "stripes": lambda u, v: _wave(v),
    "checks": lambda u, v: 0.5 - 2 * (_wave(u) - 0.5) * (_wave(v) - 0.5),
    "bars": lambda u, v: _wave(u),
    "rings": lambda u, v: _wave(np.hypot(u, v)),
    "slant": lambda u, v: _wave(0.7 * (u + v)),
    "shade": lambda u, v: np.clip(0.5 + 0.6 * u, 0, 1),
    "lamp": lambda u, v: np.clip(1.2 * np.hypot(u, v), 0, 1),
}


def _box(u: Plane, v: Plane, half_width: float, half_height: float) -> Plane:
    distance: Plane = np.maximum(abs(u) - half_width, abs(v) - half_height)
    return distance


def _wave(place: Plane) -> Plane:
    wave: Plane = 0.5 + 0.5 * np.sin(2.5 * np.pi * place)
    return wave


@dataclass(frozen=True)
class Layer:
    """Something drawn over the background: how much of it each pixel shows, and its colour."""

    mask: Plane
    colour: Float[np.ndarray, "..."]


def offsets(down: Track, across: Track, size: tuple[int, int]) -> Offsets:
    """How far each pixel lies below and to the right of a point, the short way round."""
    height, width = size
    below = np.arange(height, dtype=np.float32)[:, None] - down[:, None, None]
    right = np.arange(width, dtype=np.float32) - across[:, None, None]
    below = (below + height / 2) % height - height / 2
    right = (right + width / 2) % width - width / 2
    return below.astype(np.float32), right.astype(np.float32)


def stamp(
    shape: str,
    texture: str,
    centre: tuple[Track, Track],
    radius: float,
    colours: tuple[Colour, Colour],
    size: tuple[int, int],
) -> Layer:
    """A textured shape about a centre (down, across) that may move, its edges one pixel soft."""
    below, right = offsets(*centre, size)
    u, v = np.broadcast_arrays(right / radius, below / radius)
    mask = np.clip(0.5 - SHAPES[shape](u, v) * radius, 0, 1)
    blend = TEXTURES[texture](u, v)[..., None]
    first, second = (colour.astype(np.float32) for colour in colours)
    return Layer(mask, first + blend * (second - first))


def limb(start: Offsets, end: tuple[Track, Track], thickness: float) -> Plane:
    """How much of each pixel a thick line covers, from offsets to its start, to a relative end."""
    below, right = start
    down, across = (place.astype(np.float32)[:, None, None] for place in end)
    length = np.maximum(down**2 + across**2, 1e-6)
    along = np.clip((below * down + right * across) / length, 0, 1)
    distance = np.hypot(below - along * down, right - along * across)
    mask: Plane = np.clip(0.5 + thickness / 2 - distance, 0, 1)
    return mask


def background(
    random: np.random.Generator, size: tuple[int, int]
) -> Float[np.ndarray, "height width channel"]:
    """Coloured clouds: two layers of random tiles, smoothed up to the frame, 50 to 150 bright."""
    height, width = size
    clouds = np.zeros((height, width, 3), np.float32)
    for tiles, share in ((4, 0.6), (9, 0.4)):
        coarse = random.uniform(0, 1, (tiles, tiles, 3)).astype(np.float32)
        clouds += share * cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    return 50 + 100 * clouds


def bright_colours(random: np.random.Generator) -> tuple[Colour, Colour]:
    """A light and a dark colour of random hue, apart from any background."""
    return random.uniform(185, 255, 3), random.uniform(0, 45, 3)


def compose(
    scenery: Float[np.ndarray, "time height width channel"], layers: list[Layer]
) -> Float[np.ndarray, "time height width channel"]:
    """The layers over what is behind them, the last one on top."""
    picture: Float[np.ndarray, "time height width channel"] = scenery.copy()
    for layer in layers:
        picture += layer.mask[..., None] * (layer.colour - picture)
    return picture
