"""Depth images from a folder and from a bag: each pair is laid by its own, as the pipeline lays it when it is handed the frame itself."""

import cv2
import numpy as np
import pytest

pytest.importorskip("rosbags", reason="bags need the package rosbags (pip install rosbags)")

from test_bags import BEGIN_NS, IMAGE, PERIOD_NS, BagMaker, messages, stamp

from aenet_ros.cli import main as cli
from aenet_ros.config import build
from aenet_ros.core.frames import Frame, FramePair
from aenet_ros.pipeline import FusionPipeline

SIZE = (96, 128)
COUNT = 4
RIG = """
thermal_from_rgb: {rotation: [1, 0, 0, 0, 1, 0, 0, 0, 1], translation: [0.2, 0.0, 0.0]}
rgb_camera: {image_width: 128, image_height: 96, camera_matrix: {rows: 3, cols: 3, data: [100, 0, 64, 0, 100, 48, 0, 0, 1]}, LENS}
thermal_camera: {image_width: 128, image_height: 96, camera_matrix: {rows: 3, cols: 3, data: [100, 0, 64, 0, 100, 48, 0, 0, 1]}, LENS}
""".replace("LENS", "distortion_model: plumb_bob, distortion_coefficients: {rows: 1, cols: 5, data: [0, 0, 0, 0, 0]}")


def thermal(index):
    counts = np.full(SIZE, 29_000, np.uint16)
    counts[30:60, 20 + 10 * index : 50 + 10 * index] = 31_000
    return counts


def rgb(index):
    return np.full((*SIZE, 3), 60 + 10 * index, np.uint8)


def depth(index):
    """Millimetres; nearer from pair to pair, so that the thermal picture shifts by 20 pixels, then more."""
    return np.full(SIZE, 1_000 - 150 * index, np.uint16)


@pytest.fixture
def settings(tmp_path):
    path = tmp_path / "rig.yaml"
    path.write_text(RIG)
    return {"registration.mode": "depth", "registration.file": str(path), "registration.plane_distance_m": 50.0, "model.threads": 1}


def directly(settings, smoothing):
    """What the pipeline makes of the frames themselves."""
    pipeline = FusionPipeline(build({**settings, **({} if smoothing else {"agc.smoothing_s": 0.0})}))
    for index in range(COUNT):
        at = BEGIN_NS + index * PERIOD_NS
        pair = FramePair(Frame(at, thermal(index), "mono16"), Frame(at, rgb(index), "rgb8"), depth=Frame(at, depth(index), "mono16"))
        yield pipeline.process(pair).image
    pipeline.close()


def words(settings):
    return ["--set", *(f"{name}={value}" for name, value in settings.items())]


def test_a_folder_of_depth_pictures(tmp_path, settings, capsys):
    for name, make in (("thermal", thermal), ("rgb", rgb), ("depth", depth)):
        (tmp_path / name).mkdir()
        for index in range(COUNT):
            assert cv2.imwrite(str(tmp_path / name / f"{index}.png"), make(index))
    paths = [str(tmp_path / name) for name in ("thermal", "rgb")]
    command = ["fuse", *paths, "-o", str(tmp_path / "out"), "--depth", str(tmp_path / "depth")]
    assert cli.main(command) == 1
    assert "registration.mode=depth" in capsys.readouterr().err
    assert cli.main([*command, *words(settings)]) == 0
    assert "registered by the plane" not in capsys.readouterr().err
    expected = list(directly(settings, smoothing=False))
    for index in range(COUNT):
        np.testing.assert_array_equal(cv2.imread(str(tmp_path / f"out/{index}.png"))[..., ::-1], expected[index])
    assert cli.main(["fuse", *paths, "-o", str(tmp_path / "plane"), *words(settings)]) == 0
    assert "4 pairs were registered by the plane: no depth image" in capsys.readouterr().err
    assert (cv2.imread(str(tmp_path / "plane/3.png"))[..., ::-1] != expected[3]).any()


def test_a_bags_depth_topic(tmp_path, settings, capsys):
    maker = BagMaker(tmp_path / "in", "mcap")
    with maker.writer:
        topics = [maker.topic(name, IMAGE) for name in ("/camera/depth/image_raw", "/ir/image_raw", "/cam/image_raw")]
        for index in range(COUNT):
            at = BEGIN_NS + index * PERIOD_NS
            for topic, picture, encoding in zip(
                topics, (depth(index), thermal(index), rgb(index)), ("16UC1", "mono16", "rgb8"), strict=True
            ):
                maker.image(topic, at, at, picture, encoding, "camera")
    assert cli.main(["fuse", str(tmp_path / "in"), "-o", str(tmp_path / "out"), *words(settings)]) == 0
    assert "depth: /camera/depth/image_raw (4)" in capsys.readouterr().err
    found = messages(tmp_path / "out")[0]["/fused/image"]
    expected = list(directly(settings, smoothing=True))
    assert [stamp(message) for _, message in found] == [BEGIN_NS + index * PERIOD_NS for index in range(COUNT)]
    for (_, message), image in zip(found, expected, strict=True):
        np.testing.assert_array_equal(message.data.reshape(*SIZE, 3), image)
