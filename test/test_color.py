"""Luma split and merge against numbers of ITU-R BT.601 worked out by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aenet_ros.fusion import color


def pixels(*values):
    return np.array([values], np.uint8)


def test_luma_of_known_colours():
    # 0.299 * 255 = 76.2, 0.587 * 255 = 149.7, 0.114 * 255 = 29.1, and 0.299 * 100 + 0.587 * 50 + 0.114 * 200 = 82.05
    image = pixels([255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [0, 0, 0], [100, 50, 200])
    assert color.luma(image, "rgb").tolist() == [[76, 150, 29, 255, 0, 82]]
    assert color.luma(np.ascontiguousarray(image[..., ::-1]), "bgr").tolist() == [[76, 150, 29, 255, 0, 82]]


def test_a_grey_image_is_its_own_luma():
    grey = pixels(0, 7, 255)
    assert color.luma(grey) is grey


def test_merge_adds_the_same_to_each_channel_and_saturates():
    image = pixels([250, 10, 100], [250, 10, 100], [1, 2, 3])
    merged = color.merge(image, pixels(90, 90, 2), pixels(110, 70, 2))
    assert merged.tolist() == [[[255, 30, 120], [230, 0, 80], [1, 2, 3]]]


def test_merge_keeps_the_colour_differences():
    image = pixels([120, 80, 60])  # Y = 89.68
    merged = color.merge(image, color.luma(image), pixels(140)).astype(int)[0, 0]
    assert (merged[0] - merged[1], merged[1] - merged[2]) == (40, 20)
    assert abs(0.299 * merged[0] + 0.587 * merged[1] + 0.114 * merged[2] - 140) < 1.0


def test_merge_of_a_grey_image_is_the_new_luma():
    assert color.merge(pixels(1, 2), pixels(1, 2), pixels(30, 40)).tolist() == [[30, 40]]


@settings(max_examples=200, deadline=None)
@given(st.tuples(*[st.integers(0, 255)] * 3), st.integers(0, 255), st.integers(0, 255))
def test_merge_is_saturating_addition(pixel, old, new):
    expected = [min(255, max(0, value + new - old)) for value in pixel]
    assert color.merge(pixels(pixel), pixels(old), pixels(new)).tolist() == [[expected]]


def test_every_grey_level_survives_the_way_to_unit_and_back():
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    unit = np.empty((16, 16), np.float32)
    color.to_unit(levels, unit)
    assert unit.max() == 1.0
    assert unit[3, 3] == pytest.approx(0.2)
    np.testing.assert_array_equal(color.from_unit(unit), levels)


def test_from_unit_rounds_to_nearest_and_saturates():
    levels = np.array([[99.4, 99.6, 254.7, 255.3, 300.0]], np.float32)
    assert color.from_unit(levels / 255).tolist() == [[99, 100, 255, 255, 255]]


def test_views_of_message_buffers_will_do():
    padded = np.random.default_rng(0).integers(0, 256, (20, 33, 3)).astype(np.uint8)
    view = padded[:, :30]
    view.flags.writeable = False
    np.testing.assert_array_equal(color.luma(view), color.luma(view.copy()))
    old, new = color.luma(view), np.full((20, 30), 128, np.uint8)
    np.testing.assert_array_equal(color.merge(view, old, new), color.merge(view.copy(), old, new))
