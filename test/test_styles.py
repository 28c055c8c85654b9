"""The styles of the published picture, on planes drawn by the test."""

import numpy as np
import pytest

from aenet_ros.thermal.palettes import table
from aenet_ros.thermal.styles import STYLES, StyleInput, draw_style

HEIGHT, WIDTH = 120, 160


def planes(**changes):
    rgb = np.full((HEIGHT, WIDTH, 3), (40, 80, 120), np.uint8)
    rgb[:, WIDTH // 2 :] = (200, 80, 120)  # one vertical edge
    brightness = np.full((HEIGHT, WIDTH), 60, np.uint8)
    brightness[40:60, 20:40] = 250
    given = {
        "fused": np.full((HEIGHT, WIDTH, 3), 100, np.uint8),
        "rgb": rgb,
        "brightness": brightness,
        "inside": np.ones((HEIGHT, WIDTH), bool),
        "band": brightness > 200,
    }
    return StyleInput(**{**given, **changes})


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("grey", [False, True])
def test_every_style_keeps_size_and_inputs(style, grey):
    given = planes(rgb=np.full((HEIGHT, WIDTH), 90, np.uint8)) if grey else planes()
    before = [plane.copy() for plane in given]
    drawn = draw_style(style, given, "inferno")
    assert drawn.shape == (HEIGHT, WIDTH, 3)
    assert drawn.dtype == np.uint8
    assert all((plane == kept).all() for plane, kept in zip(given, before, strict=True))


def test_tint_colours_the_band_only():
    drawn = draw_style("tint", planes(), "ironbow")
    band = np.s_[40:60, 20:40]
    expected = 0.4 * 100 + 0.6 * table("ironbow")[250].astype(float)
    assert np.abs(drawn[band] - expected).max() <= 1
    outside = drawn.astype(int) - 100
    outside[band] = 0
    assert not outside.any()
    assert draw_style("tint", planes(band=np.zeros((HEIGHT, WIDTH), bool)), "ironbow").tolist() == planes().fused.tolist()


def test_edges_draw_the_rgb_edge_over_the_thermal_picture():
    drawn = draw_style("edges", planes(), "white_hot")
    assert (drawn[:, 5:15] == 60).all()
    assert (drawn[:, WIDTH // 2 - 1 : WIDTH // 2 + 1] > 150).all()


def test_outside_the_thermal_view_edges_show_rgb():
    inside = np.ones((HEIGHT, WIDTH), bool)
    inside[:20] = False
    assert draw_style("edges", planes(inside=inside), "white_hot")[5, 10].tolist() == [40, 80, 120]


def test_pip_and_side_by_side_show_both_pictures():
    inset = draw_style("pip", planes(), "white_hot")
    assert inset[2, WIDTH - 3].tolist() == [60, 60, 60]
    assert inset[HEIGHT - 2, 2].tolist() == [40, 80, 120]
    both = draw_style("side_by_side", planes(), "white_hot")
    assert both[HEIGHT // 2, 2].tolist() == [40, 80, 120]
    assert both[HEIGHT - HEIGHT // 4 - 3, WIDTH - 3].tolist() == [60, 60, 60]
    assert not both[2].any()
