"""Balls and sticks: areas, depth and sectors are those of geometry."""

import numpy as np
import pytest

from tools.ball_and_stick import Ball, Canvas, rotation, sector_colors, shade

RED, BLUE = (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)


def ball(x: float, y: float, z: float, radius: float, color: tuple[float, float, float] = RED) -> Ball:
    return Ball(np.array([x, y, z]), radius, ((1.0, color),))


def test_a_ball_covers_its_circle_and_rises_by_its_radius() -> None:
    canvas = Canvas(100, 120)
    canvas.ball(ball(60, 50, 7, 30))
    assert canvas.rgba[..., 3].sum() == pytest.approx(np.pi * 30**2, rel=0.01)
    assert canvas.depth[50, 60] == pytest.approx(37, abs=0.02)
    rows, columns = np.nonzero(canvas.rgba[..., 3])
    assert (rows.mean() + 0.5, columns.mean() + 0.5) == pytest.approx((50, 60), abs=0.01)


@pytest.mark.parametrize("nearer", [5.0, -5.0])
def test_what_is_nearer_hides_what_is_behind_in_either_order(nearer: float) -> None:
    canvas = Canvas(60, 60)
    canvas.ball(ball(30, 30, 0, 20, RED))
    canvas.ball(ball(30, 30, nearer, 20, BLUE))
    red, blue = canvas.rgba[30, 30, [0, 2]]
    assert (blue > red) == (nearer > 0)


@pytest.mark.parametrize("slope", [0.0, 40.0, -40.0])
def test_a_stick_is_as_long_as_its_projection_and_leans_as_its_ends(slope: float) -> None:
    canvas = Canvas(80, 120)
    canvas.stick(np.array([20.0, 40, 0]), np.array([100.0, 40, slope]), 5, RED)
    assert canvas.rgba[..., 3].sum() == pytest.approx(80 * 10, rel=0.08)
    rows = canvas.depth[40]
    assert (rows[80] - rows[40]) / 40 == pytest.approx(slope / 80, abs=0.02)
    middle = 5 * np.hypot(80, slope) / 80 + slope / 2
    assert rows[59:61].mean() == pytest.approx(middle, abs=0.1), "its surface is in front of its axis"
    upright = Canvas(80, 120)
    upright.stick(np.array([20.0, 40, 0]), np.array([20.0, 40, 50]), 5, RED)
    assert not upright.rgba.any(), "one that points at the viewer has no length"


def test_sectors_are_as_large_as_the_occupancies_and_the_rest_is_vacant() -> None:
    y, x = np.mgrid[-50:50, -50:50] + 0.5
    inside = x**2 + y**2 < 48**2
    site = Ball(np.zeros(3), 50, ((0.5, RED), (0.2, BLUE)))
    colors = sector_colors(site, x, y)[inside]
    shares = [(colors == color).all(axis=1).mean() for color in (RED, BLUE)]
    assert shares == pytest.approx([0.5, 0.2], abs=0.01)
    assert (colors.min(axis=1) > 0.9).mean() == pytest.approx(0.3, abs=0.01)


def test_the_side_towards_the_lamp_is_brighter_and_the_crystal_stands_upright() -> None:
    left, right = shade(np.array([[-0.6, 0.5, 0.6], [0.6, -0.5, 0.6]]), np.array([0.5, 0.5, 0.5]))
    assert left.sum() > right.sum()
    turn = rotation(30, 10)
    assert turn @ turn.T == pytest.approx(np.eye(3)) and np.linalg.det(turn) == pytest.approx(1)
    up = turn @ np.array([0, 0, 1.0])
    assert up[1] > 0.9 and up[0] == pytest.approx(0)


def test_supersampling_averages_and_puts_the_top_row_first() -> None:
    canvas = Canvas(40, 40)
    canvas.ball(ball(10, 30, 0, 8))
    image = canvas.image(4)
    assert image.shape == (10, 10, 4)
    assert image[2, 2, 3] == 1 and image[7, 2, 3] == 0, "y points up"
    assert 0 < image[0, 2, 3] < 1 or 0 < image[0, 1, 3] < 1
