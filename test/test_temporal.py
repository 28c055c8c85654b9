"""Flicker against hand-made clips and against known figures of classical fusions on the real clips."""

import numpy as np
import pytest
from conftest import shared_dir

from aenet_ros.core.errors import ImageError
from aenet_ros.workbench.evaluation.compare import clip_flicker
from aenet_ros.workbench.evaluation.methods import CLASSICAL
from aenet_ros.workbench.evaluation.metrics import flicker
from aenet_ros.workbench.evaluation.pairs import dev_clips

SIZE = (4, 6)


def test_only_unexplained_change_counts():
    still = np.full(SIZE, 50)
    clip = [
        (still, still, still),
        (still + 7, still, still),  # fused jumps by 7, nothing explains it: 7
        (still + 7, still - 9, still),  # fused still: 0
        (still, still - 9, still + 3),  # fused falls by 7, rgb rises by 3: 4 left
        (still + 9, still, still + 3),  # thermal's rise of 9 explains it: 0
    ]
    assert flicker(clip) == pytest.approx(11 / 4)


def test_one_pixel_counts_as_its_share():
    still = np.zeros(SIZE, np.uint8)
    spark = still.copy()
    spark[1, 2] = 240
    assert flicker([(still, still, still), (spark, still, still)]) == pytest.approx(240 / 24)


@pytest.mark.parametrize("count", [0, 1])
def test_too_short_a_clip(count):
    plane = np.zeros(SIZE)
    with pytest.raises(ImageError, match="two"):
        flicker([(plane, plane, plane)] * count)


def test_a_change_of_size():
    small, large = np.zeros((4, 4)), np.zeros((5, 4))
    with pytest.raises(ImageError, match="one size"):
        flicker([(small, small, small), (large, large, large)])
    with pytest.raises(ImageError, match="one size"):
        flicker([(small, small, large)])


@pytest.mark.parametrize(("clip", "laplacian"), [("1230_1202", 0.29), ("0117_1605", 0.36)])
def test_known_figures_on_real_clips(clip, laplacian):
    dataset = next(dataset for dataset in dev_clips(shared_dir() / "data") if dataset.name == clip)
    maximum, _, pyramid = (clip_flicker(dataset, method) for method in CLASSICAL)
    assert maximum == 0.0
    assert pyramid == pytest.approx(laplacian, abs=0.005)
