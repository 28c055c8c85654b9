"""Calibration without a target, against the rig's truth."""

import json

import cv2
import numpy as np
import pytest
import yaml

from aenet_ros.cli.main import main
from aenet_ros.config import RegistrationConfig
from aenet_ros.core.errors import ImageError, SourceError
from aenet_ros.core.frames import Frame, FramePair
from aenet_ros.io.source import SourceItem
from aenet_ros.registration.estimate import MIN_CONFIDENCE, corner_distance, estimate
from aenet_ros.registration.registration import Registration
from aenet_ros.workbench.calibration.scenes import collect
from aenet_ros.workbench.simulation.rig import Rig
from aenet_ros.workbench.simulation.rig_config import RigConfig

pytestmark = pytest.mark.usefixtures("one_opencv_thread")

CONFIG = RigConfig(
    thermal_width=320, thermal_height=256, rgb_width=480, rgb_height=360,
    zoom=1.2, rotation_deg=-3.0, shift_x=-25.0, shift_y=15.0, keystone=8e-5, scene_s=2.0,
)  # fmt: skip


@pytest.fixture(scope="module")
def rig():
    return Rig(CONFIG)


@pytest.fixture(scope="module")
def pairs(rig):
    """20 pairs, 0.6 s apart, of day, night and smoke."""
    wanted = {index * 18 for index in range(20)}
    shots = {"thermal": {}, "rgb": {}}
    for shot in rig.schedule(seconds=12.0):
        if shot.index in wanted:
            encoding = "mono16" if shot.stream == "thermal" else "rgb8"
            shots[shot.stream][shot.index] = Frame(shot.stamp_ns, rig.render(shot), encoding)
    return [FramePair(shots["thermal"][index], shots["rgb"][index]) for index in sorted(wanted)]


def test_the_rig_s_homography_is_found_from_nothing(rig, pairs):
    found = estimate(pairs)
    assert found.confidence > 0.8
    assert found.spread_px < 1.0
    assert found.reason == ""
    # Thermal pixels, of which 320 are across.
    assert corner_distance(found.matrix, rig.homography, CONFIG.rgb_size) < 0.8


def test_a_good_start_needs_no_search_and_bad_pairs_do_not_matter(rig, pairs):
    rng = np.random.default_rng(0)
    start = rig.homography @ np.array([[1, 0, 5.0], [0, 1, -4.0], [0, 0, 1]])
    blank = Frame(0, np.full((256, 320), 30_000, np.uint16), "mono16")
    noise = Frame(0, rng.integers(0, 65_535, (256, 320)).astype(np.uint16), "mono16")
    wrong = [FramePair(pairs[index].thermal, pairs[index + len(pairs) // 2].rgb) for index in range(4)]
    found = estimate([*pairs, FramePair(blank, pairs[0].rgb), FramePair(noise, pairs[1].rgb), *wrong], start)
    assert found.confidence > MIN_CONFIDENCE
    assert corner_distance(found.matrix, rig.homography, CONFIG.rgb_size) < 1.0


def mirrored(pairs):
    """As much structure as before, and nothing in common."""
    return [FramePair(Frame(0, np.ascontiguousarray(pair.thermal.data[::-1, ::-1]), "mono16"), pair.rgb) for pair in pairs]


def test_pictures_that_have_nothing_in_common_are_not_trusted(pairs):
    found = estimate(mirrored(pairs[::2]))
    assert found.confidence < MIN_CONFIDENCE
    assert found.reason


def test_one_still_view_of_something_else_is_not_trusted(pairs):
    """All pairs agree with each other here, and are wrong together."""
    still = mirrored(pairs[:1])[0]
    assert estimate([still] * 4).confidence < MIN_CONFIDENCE


def test_blank_pictures_are_not_trusted(pairs):
    blank = Frame(0, np.zeros((256, 320), np.uint16), "mono16")
    found = estimate([FramePair(blank, pair.rgb) for pair in pairs[:6]])
    assert found.confidence == 0.0
    assert "nothing that coincides" in found.reason


def test_too_few_pairs_and_mixed_sizes_are_refused(pairs):
    with pytest.raises(ImageError, match="3 pairs are too few"):
        estimate(pairs[:3])
    small = Frame(0, np.zeros((100, 100), np.uint16), "mono16")
    with pytest.raises(ImageError, match="2 different sizes"):
        estimate([*pairs[:4], FramePair(small, pairs[0].rgb)])


def test_collect_spreads_over_the_whole_and_keeps_one_size():
    def pair(index, width):
        return SourceItem(str(index), FramePair(Frame(index, np.zeros((8, width)), "mono8"), Frame(index, np.zeros((8, 8, 3)), "rgb8")))

    source = [pair(index, 16 if index % 10 else 12) for index in range(1000)] + [SourceItem("1000", error="damaged")]
    kept, remarks = collect(source, 30)
    stamps = [pair.rgb.stamp_ns for _, pair in kept]
    assert 20 <= len(kept) <= 30
    assert stamps[0] < 70
    assert stamps[-1] > 900
    assert np.diff(stamps).max() < 130
    assert {pair.thermal.size[1] for _, pair in kept} == {16}
    assert any("damaged" in text for text in remarks)
    assert any("sizes are not thermal 16x8" in text for text in remarks)
    with pytest.raises(SourceError, match="damaged"):
        collect([SourceItem("1", error="damaged")], 5)


@pytest.fixture(scope="module")
def folders(pairs, tmp_path_factory):
    root = tmp_path_factory.mktemp("pairs")
    for name in ("thermal", "rgb", "other"):
        (root / name).mkdir()
    for index, (pair, other) in enumerate(zip(pairs, mirrored(pairs), strict=True)):
        cv2.imwrite(str(root / "thermal" / f"{index}.png"), pair.thermal.data)
        cv2.imwrite(str(root / "other" / f"{index}.png"), other.thermal.data)
        cv2.imwrite(str(root / "rgb" / f"{index}.png"), cv2.cvtColor(pair.rgb.data, cv2.COLOR_RGB2BGR))
    return root


def test_the_command_writes_what_registration_reads(rig, folders, tmp_path, capsys):
    out = tmp_path / "rig.yaml"
    assert main(["calibrate", str(folders / "thermal"), str(folders / "rgb"), "-o", str(out), "--most-pairs", "12", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["pairs"] == 12
    assert corner_distance(np.reshape(report["homography"], (3, 3)), rig.homography, CONFIG.rgb_size) < 1.0
    content = yaml.safe_load(out.read_text())
    assert content["rgb_size"] == [480, 360]
    assert content["thermal_size"] == [320, 256]
    registration = Registration(RegistrationConfig(mode="homography", file=str(out)))
    x, y = registration.map((256, 320), (360, 480))
    assert (x[180, 240], y[180, 240]) == pytest.approx(rig.rgb_to_thermal(np.array([[240.0, 180.0]]))[0], abs=0.5)
    assert cv2.imread(str(tmp_path / "rig.png")).shape[1] > 3 * 400
    assert main(["calibrate", str(folders / "thermal"), str(folders / "rgb"), "-o", str(out)]) == 1
    assert "--force" in capsys.readouterr().err


def test_a_calibration_from_before_is_mended(rig, folders, tmp_path, capsys):
    """--start: a homography that is 12 pixels off, written for pictures of half the size."""
    half = np.diag([0.5, 0.5, 1.0])
    old = rig.homography @ np.array([[1, 0, 12.0], [0, 1, -8.0], [0, 0, 1]])
    before = tmp_path / "before.yaml"
    before.write_text(
        yaml.safe_dump({"homography": (old @ np.linalg.inv(half)).tolist(), "rgb_size": [240, 180], "thermal_size": [320, 256]})
    )
    out = tmp_path / "after.yaml"
    words = ["calibrate", str(folders / "thermal"), str(folders / "rgb"), "-o", str(out), "--start", str(before), "--json"]
    assert main(words) == 0
    found = np.reshape(json.loads(capsys.readouterr().out)["homography"], (3, 3))
    assert corner_distance(old, rig.homography, CONFIG.rgb_size) > 7
    assert corner_distance(found, rig.homography, CONFIG.rgb_size) < 1.0


def test_where_the_lenses_are_known_the_turn_is_found(folders, rig, pairs, tmp_path, capsys):
    """The rig's homography as two pinhole cameras that would see it: K_t (R + t n / D) K_r^-1, with a turn about all three axes."""
    from aenet_ros.core.camera import Camera, Stereo
    from aenet_ros.registration.calibration_file import stereo_content
    from aenet_ros.workbench.calibration.scenes import estimate_pose

    turn, shift, distance = cv2.Rodrigues(np.deg2rad([1.0, -1.5, -3.0]))[0], np.array([0.06, 0.0, 0.0]), 12.0
    # With the rgb camera given, the thermal camera's matrix follows from the homography: upper triangular, by RQ decomposition of
    # H K_r = K_t R' would have a turn of its own; so take that turn as the truth.
    rgb = Camera(np.array([[400.0, 0, 239.5], [0, 400.0, 179.5], [0, 0, 1]]), (360, 480))
    whole = rig.homography @ rgb.matrix
    thermal_matrix, rotation = cv2.RQDecomp3x3(whole / np.cbrt(np.linalg.det(whole)))[1:3]
    signs = np.diag(np.sign(np.diag(thermal_matrix)))
    thermal = Camera(thermal_matrix @ signs / thermal_matrix[2, 2], (256, 320))
    rotation = signs @ rotation
    if np.linalg.det(rotation) < 0:
        rotation = -rotation
    start = Stereo(rgb, thermal, turn @ rotation, np.zeros(3))
    assert np.rad2deg(np.linalg.norm(cv2.Rodrigues(turn)[0])) > 3
    posed = estimate_pose(pairs, start, distance)
    left = np.rad2deg(np.linalg.norm(cv2.Rodrigues(posed.stereo.rotation @ rotation.T)[0]))
    assert left < 0.15
    assert posed.rms_px < 0.6
    # With cameras 6 cm apart the same pictures mean another turn, and the map at that distance is the same.
    path = tmp_path / "lenses.yaml"
    path.write_text(yaml.safe_dump(stereo_content(Stereo(rgb, thermal, rotation, shift))))
    out = tmp_path / "pose.yaml"
    words = ["calibrate", str(folders / "thermal"), str(folders / "rgb"), "-o", str(out), "--start", str(path)]
    assert main([*words, "--set", f"registration.plane_distance_m={distance}"]) == 0
    said = capsys.readouterr().out
    assert "rotation of the thermal camera" in said
    assert "registration.mode: plane" in said
    x, y = Registration(RegistrationConfig(mode="plane", file=str(out), plane_distance_m=distance)).map((256, 320), (360, 480))
    assert (x[180, 240], y[180, 240]) == pytest.approx(rig.rgb_to_thermal(np.array([[240.0, 180.0]]))[0], abs=1.0)


def test_start_and_target_exclude_each_other_and_a_start_needs_lenses(tmp_path, capsys):
    (tmp_path / "bad.yaml").write_text("rgb_camera: 3\n")
    words = ["calibrate", str(tmp_path), str(tmp_path), "-o", str(tmp_path / "x.yaml")]
    assert main([*words, "--start", str(tmp_path / "bad.yaml")]) == 1
    assert "rgb_camera: give image_width" in capsys.readouterr().err
    assert main([*words, "--start", str(tmp_path / "bad.yaml"), "--target", "circles:4x9:0.04"]) == 1
    assert "give one of the two" in capsys.readouterr().err


def test_the_command_refuses_what_cannot_be_trusted_and_writes_nothing(folders, tmp_path, capsys):
    out = tmp_path / "rig.yaml"
    assert main(["calibrate", str(folders / "other"), str(folders / "rgb"), "-o", str(out), "--most-pairs", "6"]) == 1
    assert "no registration can be trusted" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_command_with_a_target(tmp_path, capsys):
    import boards

    for name in ("thermal", "rgb"):
        (tmp_path / name).mkdir()
    for index, pair in enumerate(boards.views(boards.checkerboard(8, 5, 0.06), (0.42, 0.24), 10)):
        cv2.imwrite(str(tmp_path / "thermal" / f"{index}.png"), pair.thermal.data)
        cv2.imwrite(str(tmp_path / "rgb" / f"{index}.png"), pair.rgb.data)
    out = tmp_path / "stereo.yaml"
    words = ["calibrate", str(tmp_path / "thermal"), str(tmp_path / "rgb"), "-o", str(out), "--target", "checkerboard:8x5:0.06"]
    assert main(words) == 0
    assert "reprojection error" in capsys.readouterr().out
    registration = Registration(RegistrationConfig(mode="plane", file=str(out), plane_distance_m=1.0))
    point = np.array([[0.1, -0.05, 1.0]])
    ((column, row),) = cv2.projectPoints(point, np.zeros(3), np.zeros(3), boards.RGB_MATRIX, boards.RGB_LENS)[0][0]
    there = point @ boards.ROTATION.T + boards.TRANSLATION
    truth = cv2.projectPoints(there, np.zeros(3), np.zeros(3), boards.THERMAL_MATRIX, boards.THERMAL_LENS)[0][0, 0]
    x, y = registration.map(boards.THERMAL_SIZE, boards.RGB_SIZE)
    assert (x[round(row), round(column)], y[round(row), round(column)]) == pytest.approx(truth, abs=1.0)
