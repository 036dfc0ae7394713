"""A crystal as shaded balls and sticks, drawn pixel by pixel with numpy: orthographic, a depth for every pixel.

Legend: H, W height and width in pixels; n atoms; positions are (x to the right, y up, z towards the viewer) in pixels.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
LIGHT = np.array([-0.45, 0.65, 0.75]) / np.linalg.norm([-0.45, 0.65, 0.75])
AMBIENT, DIFFUSE, SHINE, HARDNESS = 0.42, 0.62, 0.45, 28.0
VACANT = (0.96, 0.97, 0.99)


@dataclass(frozen=True)
class Ball:
    """One atom: its parts are drawn as sectors, what is missing to 1 is vacant."""

    center: Array
    radius: float
    parts: tuple[tuple[float, tuple[float, float, float]], ...]
    """Occupancy (0 to 1) and RGB colour (0 to 1) of each element on the site."""


class Canvas:
    """Pixels and the depth of what is nearest in each."""

    def __init__(self, height: int, width: int) -> None:
        self.rgba: Array = np.zeros((height, width, 4))
        self.depth: Array = np.full((height, width), -np.inf)

    def ball(self, ball: Ball) -> None:
        """Draw a sphere."""
        rows, columns, dx, dy = self._window(ball.center, ball.radius)
        rise2 = ball.radius**2 - dx**2 - dy**2
        rise = np.sqrt(np.maximum(rise2, 0))
        normal = np.stack([dx, dy, rise], axis=-1) / ball.radius
        self._paint((rows, columns), rise2 > 0, ball.center[2] + rise, normal, sector_colors(ball, dx, dy))

    def stick(self, start: Array, end: Array, radius: float, color: tuple[float, float, float]) -> None:
        """Draw a cylinder without caps; one that points at the viewer has nothing to show."""
        axis = end - start
        flat = float(np.hypot(*axis[:2]))
        if flat < 1e-6:
            return
        along, across = axis[:2] / flat, np.array([-axis[1], axis[0]]) / flat
        # The third direction of the cylinder's cross-section, turned to the viewer.
        tilt = np.array([-axis[2] * along[0], -axis[2] * along[1], flat]) / np.linalg.norm(axis)
        rows, columns, dx, dy = self._window((start + end) / 2, flat / 2 + radius)
        dx, dy = dx + (end - start)[0] / 2, dy + (end - start)[1] / 2  # from the start
        s = dx * across[0] + dy * across[1]
        rise = np.sqrt(np.maximum(radius**2 - s**2, 0))
        t = (dx * along[0] + dy * along[1] - rise * (tilt[:2] @ along)) / flat
        normal = (s[..., None] * np.append(across, 0) + rise[..., None] * tilt) / radius
        inside = (np.abs(s) < radius) & (t >= 0) & (t <= 1)
        self._paint((rows, columns), inside, start[2] + t * axis[2] + rise * tilt[2], normal, np.array(color))

    def _window(self, center: Array, radius: float) -> tuple[slice, slice, Array, Array]:
        """Rows and columns around a point, and every pixel's distance from it to the right and upwards."""
        height, width = self.depth.shape
        top, bottom = (int(np.clip(v, 0, height)) for v in (center[1] - radius, center[1] + radius + 2))
        left, right = (int(np.clip(v, 0, width)) for v in (center[0] - radius, center[0] + radius + 2))
        y, x = np.mgrid[top:bottom, left:right].astype(float)
        return slice(top, bottom), slice(left, right), x + 0.5 - center[0], y + 0.5 - center[1]

    def _paint(self, window: Any, inside: Any, depth: Array, normal: Array, color: Array) -> None:
        seen = inside & (depth > self.depth[window])
        shaded = np.clip(shade(normal, color), 0, 1)
        self.depth[window][seen] = depth[seen]
        self.rgba[window][seen] = np.concatenate([shaded, np.ones((*shaded.shape[:-1], 1))], axis=-1)[seen]

    def image(self, supersampling: int) -> Array:
        """(H, W, 4) RGBA from 0 to 1, top row first, averaged over squares of pixels."""
        height, width = (size // supersampling for size in self.depth.shape)
        shape = (height, supersampling, width, supersampling, 4)
        squares = self.rgba[: height * supersampling, : width * supersampling].reshape(shape)
        opacity = squares[..., 3:].mean(axis=(1, 3))
        rgb = (squares[..., :3] * squares[..., 3:]).mean(axis=(1, 3)) / np.maximum(opacity, 1e-9)
        return np.concatenate([rgb, opacity], axis=-1)[::-1]


def sector_colors(ball: Ball, dx: Array, dy: Array) -> Array:
    """(…, 3) colour at an offset from the centre: sectors clockwise from the top, as large as the occupancies."""
    turn = (np.arctan2(dx, dy) / (2 * np.pi)) % 1.0
    colors = np.broadcast_to(np.array(VACANT), (*turn.shape, 3)).copy()
    start = 0.0
    for amount, color in ball.parts:
        colors[(turn >= start) & (turn < start + amount + 1e-9)] = color
        start += amount
    return colors


def shade(normal: Array, color: Array) -> Array:
    """Blinn and Phong's light on a surface (doi 10.1145/563858.563893) under one lamp at the upper left."""
    half = (LIGHT + np.array([0, 0, 1])) / np.linalg.norm(LIGHT + np.array([0, 0, 1]))
    facing = np.clip(normal @ LIGHT, 0, None)[..., None]
    glint = np.clip(normal @ half, 0, None)[..., None] ** HARDNESS
    return color * (AMBIENT + DIFFUSE * facing) + SHINE * glint


def rotation(turn_deg: float, tip_deg: float) -> Array:
    """(3, 3) that turns a crystal about its z axis and tips it towards the viewer; its z axis points up."""
    a, b = np.radians([turn_deg, tip_deg])
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    upright = np.array([[1.0, 0, 0], [0, np.sin(b), np.cos(b)], [0, -np.cos(b), np.sin(b)]])
    return upright @ about_z
