"""What an operator needs: measures against values of independent code (trust_reference.json) and pictures with known answers."""

import json

import cv2
import numpy as np
import pytest
from conftest import shared_dir

from aenet_ros.core.errors import ImageError
from aenet_ros.workbench.evaluation.compare import Score, pool_trust, worst
from aenet_ros.workbench.evaluation.metrics import measure
from aenet_ros.workbench.evaluation.report import trust_table, trust_title
from aenet_ros.workbench.evaluation.trust import Trust, lost_regions, measure_with_trust, pooled, trust


def reference_pictures(name):
    """Thermal, luma and the fused pictures of the reference file, whose note says how they were made."""
    dataset, file = name.split("/")
    folder = shared_dir() / "data" / dataset
    thermal = cv2.imread(str(folder / "thermal" / file), cv2.IMREAD_GRAYSCALE).astype(np.float64)
    rgb = np.rint(cv2.cvtColor(cv2.imread(str(folder / "rgb" / file)).astype(np.float32), cv2.COLOR_BGR2GRAY)).astype(np.float64)
    maximum = np.maximum(thermal, rgb)
    fused = {"maximum": maximum, "average": np.rint((thermal + rgb) / 2)}
    return thermal, rgb, {**fused, "blurred_maximum": np.rint(cv2.GaussianBlur(maximum, (0, 0), 12))}


def test_agrees_with_independent_code():
    pairs = json.loads((shared_dir() / "trust_reference.json").read_text())["pairs"]
    assert len(pairs) == 12
    for name, expected in pairs.items():
        thermal, rgb, fused = reference_pictures(name)
        assert set(expected) == set(fused)
        for recipe, row in expected.items():
            found = trust(fused[recipe], thermal, rgb)
            values = {"halo": found.halo, "halo_share": found.halo_share, "worst_vif": found.worst_vif}
            assert values == pytest.approx({key: row[key] for key in values}, rel=1e-3, abs=2e-5), (name, recipe)
            assert found.retentions == pytest.approx(row["retentions"], abs=1e-4), (name, recipe)


GROUND = np.full((120, 160), 60.0)


def square(level, at=(60, 80), half=5):
    """Ground of 60 with a square of 11 x 11 pixels of ``level``."""
    plane = GROUND.copy()
    plane[at[0] - half : at[0] + half + 1, at[1] - half : at[1] + half + 1] = level
    return plane


def test_a_hot_square_is_kept_or_lost():
    thermal = square(200)
    # Around it nothing varies, so its contrast is (200 - 60) / 4 in the thermal picture, cut at 3; and in a fused one (level - 60) / 4.
    for level, retention in ((200, 1.0), (72, 1.0), (66, 0.5), (65, 1.25 / 3), (60, 0.0), (54, -0.5)):
        found = trust(square(level), thermal, GROUND)
        assert found.retentions == pytest.approx((retention,), abs=0.03), level  # a blurred hot region has rounded corners
        assert found.lost == (retention < 0.5), level


def test_a_region_that_the_thermal_picture_does_not_show_is_none():
    assert trust(GROUND, square(63), GROUND).retentions == ()  # contrast of 3 / 4, below 1
    assert trust(GROUND, GROUND, GROUND).retentions == ()


def test_the_lost_region_is_where_the_target_was():
    two = np.maximum(square(200, (30, 40)), square(210, (90, 120), 4))
    (mask,) = lost_regions(square(200, (30, 40)), two, GROUND)
    rows, columns = np.nonzero(mask)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == pytest.approx((86, 94, 116, 124), abs=1)


def test_an_invented_blotch_is_halo():
    down, across = np.mgrid[:120, :160]
    blotch = GROUND + 120 * np.exp(-((down - 60) ** 2 + (across - 80) ** 2) / (2 * 15.0**2))
    found = trust(blotch, GROUND, GROUND)
    # The steepest place of a Gaussian of sigma s = 17 (15, blurred by 8) is A / s * exp(-1/2): by 8 pixels about 26 grey levels.
    assert 4 < found.halo < 26
    assert 0.3 < found.halo_share < 0.9
    # What a source shows as well is no halo.
    assert trust(blotch, GROUND, blotch).halo == pytest.approx(0.0, abs=1e-6)


def test_without_flat_pixels_there_is_no_halo():
    steep = np.tile(np.arange(0, 240, 2.0), (120, 1))
    found = trust(steep, steep, steep)
    assert (found.halo, found.halo_share) == (None, None)


def test_a_mesh_of_four_pixels_is_found():
    noise = np.random.default_rng(0).integers(90, 110, (120, 160)).astype(float)
    tiles = noise.copy()
    tiles[:, ::4] += 12
    assert trust(noise, noise, noise).mesh == pytest.approx(0.0, abs=1e-9)
    assert trust(tiles, noise, noise).mesh > 0.2
    assert trust(tiles, noise, tiles).mesh == pytest.approx(0.0, abs=1e-9), "the source has it"
    assert trust(tiles.T.copy(), noise.T.copy(), noise.T.copy()).mesh > 0.2


def test_a_copy_does_not_win_worst_vif():
    random = np.random.default_rng(1)
    thermal, rgb = (cv2.GaussianBlur(random.uniform(0, 255, (120, 160)), (0, 0), 2) for _ in range(2))
    copy, mean = trust(thermal, thermal, rgb), trust((thermal + rgb) / 2, thermal, rgb)
    assert copy.worst_vif < 0.1 < mean.worst_vif


def test_both_together_are_what_each_is_alone():
    planes = [np.random.default_rng(seed).integers(0, 256, (60, 80)) for seed in range(3)]
    assert measure_with_trust(*planes) == (measure(*planes), trust(*planes))
    with pytest.raises(ImageError, match="one size"):
        trust(planes[0], planes[1], planes[2][:50])


KEPT = Trust((1.0, 0.9, 0.8), 0.2, 0.01, 0.3, 0.0)
LOST = Trust((0.1,), 0.6, 0.05, 0.1, 0.4)
EMPTY = Trust((), None, None, 0.2, 0.1)


def test_lost_is_the_share_of_all_regions():
    found = pooled([KEPT, LOST, EMPTY])
    assert found["lost"] == pytest.approx(1 / 4)  # not the mean of 0 and 1
    assert found["retention"] == pytest.approx(2.8 / 4)
    assert (found["halo"], found["halo share"]) == pytest.approx((0.4, 0.03))
    assert (found["worst VIF"], found["mesh"]) == pytest.approx((0.2, 0.5 / 3))
    assert found["hot regions"] == 4
    nothing = pooled([EMPTY])
    assert [nothing[name] for name in ("lost", "retention", "halo", "halo share")] == [None] * 4


def score(method, picture, trust):
    return Score(method, "set", picture, {}, trust)


def test_methods_are_pooled_over_the_same_pictures():
    scores = [score("x", "1", KEPT), score("x", "2", LOST), score("y", "1", LOST), Score("peer", "set", "1", {"EN": 1.0})]
    tables = pool_trust(scores)
    assert set(tables["set"]) == {"x", "y"}
    assert (tables["set"]["x"]["lost"], tables["set"]["y"]["lost"]) == (0.0, 1.0)
    assert pool_trust([score("x", "1", KEPT), score("y", "2", KEPT)]) == {}


def test_the_table_shows_a_line_where_nothing_counts_and_marks_the_lower_value():
    header, rows, best = trust_table({"maximum": pooled([KEPT]), "x": pooled([LOST]), "y": pooled([EMPTY])})
    assert header == ["method", "lost ↓", "retention", "halo ↓", "halo share ↓", "worst VIF", "mesh ↓"]
    assert [row[0] for row in rows] == ["x", "y", "maximum"], "rows of every evaluation come last"
    assert rows[1] == ["y", "-", "-", "-", "-", "0.200", "0.100"]
    assert best == {(2, column) for column in range(1, 7)}
    assert trust_title("set", {"x": pooled([KEPT, LOST])}) == "set (4 hot regions)"


def test_the_worst_pairs_come_first():
    worse = LOST._replace(retentions=(0.1, 0.3, 0.9))
    scores = [score("x", name, trust) for name, trust in (("kept", KEPT), ("lost", LOST), ("empty", EMPTY), ("worse", worse))]
    assert [found.picture for found in worst(scores, "lost", 3)] == ["worse", "lost"]
    assert [found.picture for found in worst(scores, "halo", 3)] == ["lost", "worse", "kept"]
    assert [found.picture for found in worst(scores, "worst VIF", 3)][2] == "empty"
    assert [found.picture for found in worst(scores, "mesh", 1)] == ["lost"]
