"""Registration against pixels whose place is known by hand."""

import cv2
import numpy as np
import pytest

from aenet_ros.config import RegistrationConfig
from aenet_ros.core.errors import ConfigError, ImageError
from aenet_ros.registration.output_grid import OutputGrid
from aenet_ros.registration.registration import CACHED_MAPS, Registration

SIZE = (48, 64)


def warps(registration, thermal_size=SIZE, rgb_size=SIZE, **options):
    return OutputGrid(registration).prepare(thermal_size, rgb_size, **options)


def homography(*rows, file=""):
    return Registration(RegistrationConfig(mode="homography", homography=tuple(float(v) for v in rows), file=str(file)))


def shift(x, y):
    return homography(1, 0, x, 0, 1, y, 0, 0, 1)


def dot(row, column, size=SIZE, dtype=np.float32):
    plane = np.zeros(size, dtype)
    plane[row, column] = 1
    return plane


def test_identity_of_one_size_is_the_plane_itself():
    plane = np.random.default_rng(0).random(SIZE, np.float32)
    registration = Registration()
    assert warps(registration).thermal(plane) is plane
    assert warps(registration).counts(plane) is plane
    assert warps(registration).weight is None


def test_identity_stretches_edge_to_edge():
    # Twice the size: a new pixel's centre lies a quarter of an old pixel beside an old centre.
    stretched = warps(Registration(), (1, 3), (1, 6)).thermal(np.array([[0.0, 1.0, 2.0]], np.float32))
    np.testing.assert_allclose(stretched, [[0.0, 0.25, 0.75, 1.25, 1.75, 2.0]], atol=1e-6)


def test_identity_shrinks_by_averaging():
    board = np.indices((8, 8)).sum(0).astype(np.float32) % 2
    np.testing.assert_allclose(warps(Registration(), board.shape, (4, 4)).thermal(board), np.full((4, 4), 0.5), atol=1e-6)


def test_identity_counts_come_from_the_nearest_pixel():
    counts = np.array([[10, 60_000, 30]], np.uint16)
    assert warps(Registration(), counts.shape, (1, 6)).counts(counts).tolist() == [[10, 10, 60_000, 60_000, 30, 30]]
    assert warps(Registration(), counts.shape, (1, 1)).counts(counts).tolist() == [[60_000]]


def test_identity_has_a_map_with_the_same_convention():
    x, y = Registration().map((10, 20), (20, 80))
    assert x.dtype == y.dtype == np.float32
    np.testing.assert_allclose(x[3, [0, 1, 79]], [-0.375, -0.125, 19.375], atol=1e-6)
    np.testing.assert_allclose(y[[0, 19], 5], [-0.25, 9.25], atol=1e-6)


def test_a_translation_puts_the_hot_pixel_where_it_belongs():
    # rgb (x, y) sees thermal (x - 7, y + 3): thermal column 20, row 30 is at rgb column 27, row 27.
    warped = warps(shift(-7, 3)).thermal(dot(30, 20))
    assert np.argwhere(warped > 0).tolist() == [[27, 27]]
    assert warped[27, 27] == pytest.approx(1.0)


def test_half_a_pixel_shares_the_value():
    warped = warps(shift(0.5, 0)).thermal(dot(10, 20))
    np.testing.assert_allclose(warped[10, 18:22], [0.0, 0.5, 0.5, 0.0], atol=1e-6)


def test_perspective_divides():
    # At rgb (10, 20): w = 1 + 0.01 * 10 = 1.1, so thermal is (10 / 1.1, 20 / 1.1).
    x, y = homography(1, 0, 0, 0, 1, 0, 0.01, 0, 1).map(SIZE, SIZE)
    assert (x[20, 10], y[20, 10]) == pytest.approx((9.090909, 18.181818), abs=1e-5)


def test_the_sign_of_a_homography_means_nothing():
    for sign in (1, -1):
        warped = warps(homography(*(sign * v for v in (1, 0, -7, 0, 1, 3, 0, 0, 1)))).thermal(dot(30, 20))
        assert np.argwhere(warped > 0).tolist() == [[27, 27]]


def test_what_is_behind_the_camera_is_not_seen():
    # w = 1 - x / 32 - ... is positive left of column 40 only.
    registration = homography(1, 0, 0, 0, 1, 0, -0.025, 0, 1)
    x, _ = registration.map(SIZE, SIZE)
    assert np.isfinite(x[:, :40]).all()
    assert np.isnan(x[:, 40:]).all()
    assert not warps(registration).weight[:, 40:].any()


def test_counts_are_untouched_and_0_outside():
    counts = np.random.default_rng(1).integers(1, 65_536, SIZE).astype(np.uint16)
    warped = warps(shift(-7, 3)).counts(counts)
    assert warped.dtype == np.uint16
    np.testing.assert_array_equal(warped[:45, 7:], counts[3:, :57])
    assert not warped[45:].any()
    assert not warped[:, :7].any()


def test_float_counts_are_nan_outside():
    warped = warps(shift(-7, 3)).counts(np.full(SIZE, 21.5, np.float32))
    assert np.isnan(warped).sum() == 48 * 64 - 45 * 57
    assert np.nanmin(warped) == np.nanmax(warped) == 21.5


def test_weight_is_0_outside_and_rises_without_a_step():
    weight = warps(shift(-10, 0), (400, 480), (400, 480)).weight  # a shorter side of 400 makes a feather of 20 pixels
    assert weight.dtype == np.float32
    row = weight[200]
    assert not row[:11].any()  # columns 0 to 9 see nothing, 10 is the edge
    assert row[20] == pytest.approx(0.5)
    assert np.all(row[30:] == 1.0)  # nor does it fall on the right, where picture and thermal view end together
    assert np.all(np.diff(row) >= 0.0)
    assert np.diff(row).max() < 0.08
    np.testing.assert_array_equal(weight, np.broadcast_to(row, weight.shape))


def test_weight_is_the_same_to_the_bit_with_any_number_of_threads():
    threads = cv2.getNumThreads()
    try:
        weights = []
        for count in (1, 4):
            cv2.setNumThreads(count)
            weights.append(warps(homography(0.8, -0.2, 60, 0.3, 0.9, -40, 0, 0, 1), (400, 480), (480, 640)).weight)
    finally:
        cv2.setNumThreads(threads)
    assert len(np.unique(weights[0])) > 100
    np.testing.assert_array_equal(*weights)


def test_a_thermal_view_larger_than_the_picture_needs_no_weight():
    assert warps(shift(8, 8), (64, 80), SIZE).weight is None


def test_views_that_do_not_overlap_are_an_error_that_says_so():
    registration = shift(1000, 0)
    for call in (lambda: warps(registration).weight, lambda: warps(registration).thermal(dot(1, 1))):
        with pytest.raises(ImageError, match=r"64x48.* do not overlap.* maps rgb pixels to thermal pixels"):
            call()


def test_maps_are_made_once_and_only_some_are_kept():
    registration = shift(1, 1)
    first = warps(registration).weight
    assert warps(registration).weight is first
    for extra in range(CACHED_MAPS):
        warps(registration, SIZE, (50 + extra, 64))
    again = warps(registration).weight
    assert again is not first
    np.testing.assert_array_equal(again, first)


def write(tmp_path, text):
    path = tmp_path / "calibration.yaml"
    path.write_text(text)
    return path


def test_file_wins_and_its_sizes_scale_the_matrix(tmp_path):
    path = write(tmp_path, "homography: [[1, 0, 8], [0, 1, 4], [0, 0, 1]]\nthermal_size: [64, 48]\nrgb_size: [64, 48]\n")
    registration = homography(1, 0, 0, 0, 1, 0, 0, 0, 1, file=path)
    x, y = registration.map((48, 64), (48, 64))
    assert (x[5, 6], y[5, 6]) == (14.0, 9.0)
    # rgb at twice the size: pixel (13, 11) has its centre at (6.25, 5.25) of the calibrated one; thermal at half.
    x, y = registration.map((24, 32), (96, 128))
    assert (x[11, 13], y[11, 13]) == pytest.approx(((14.25 + 0.5) / 2 - 0.5, (9.25 + 0.5) / 2 - 0.5))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("other: 1\n", "no key homography"),
        ("just words", "no key homography"),
        ("homography: [[1, 2], [3, 4]]\n", "3x3 finite numbers"),
        ("homography: [[1, 2], [3]]\n", "3x3 finite numbers"),
        ("homography: [a, b, c]\n", "3x3 finite numbers"),
        ("homography: [1, 0, 0, 0, 1, 0, 0, 0, .nan]\n", "3x3 finite numbers"),
        ("homography: [1, 2, 3, 2, 4, 6, 0, 0, 1]\n", "singular"),
        ("homography: [0, 0, 0, 0, 0, 0, 0, 0, 0]\n", "singular"),
        ("homography: [1, 0, 0, 0, 1, 0, 0, 0, 1]\nrgb_size: [640]\n", r"give \[width, height\]"),
        ("homography: [1, 0, 0, 0, 1, 0, 0, 0, 1]\nrgb_size: [-1, 5]\n", r"give \[width, height\]"),
        ("homography: [1, 0\n", "not YAML"),
    ],
)
def test_a_bad_file_is_refused_with_its_name(tmp_path, text, message):
    path = write(tmp_path, text)
    with pytest.raises(ConfigError, match=message) as caught:
        homography(1, 0, 0, 0, 1, 0, 0, 0, 1, file=path)
    assert "calibration.yaml" in str(caught.value)


def test_a_missing_file_is_refused_with_its_name(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: No such file"):
        homography(1, 0, 0, 0, 1, 0, 0, 0, 1, file=tmp_path / "nowhere.yaml")


def test_a_singular_parameter_is_refused():
    with pytest.raises(ConfigError, match="singular"):
        homography(1, 1, 0, 1, 1, 0, 0, 0, 1)


def test_a_usual_rig_is_not_called_singular():
    homography(0.1, 0.001, 2000.0, -0.001, 0.1, 1500.0, 1e-6, 1e-6, 1.0)
