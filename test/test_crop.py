"""A part of a camera's frame in place of the whole: option, frames, camera models, double frames, and what the tools do with it."""

import argparse
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from aenet_ros.cli.common import add_config_arguments, config_from
from aenet_ros.cli.main import main
from aenet_ros.config import build
from aenet_ros.core.camera import Camera, camera_from_info
from aenet_ros.core.crop import crop_camera, crop_camera_info, crop_frame
from aenet_ros.core.errors import ConfigError, ImageError, UnsupportedEncodingError
from aenet_ros.core.frames import Frame
from aenet_ros.io.source import cropped
from aenet_ros.io.sources import open_source
from aenet_ros.messages.codec import decode_thermal, scaled_camera_info

COUNTS = np.arange(12 * 16, dtype=np.uint16).reshape(12, 16)


@pytest.mark.parametrize("given", [[], (), [0, 0, 0, 0], (0.0, 0.0, 0.0, 0.0)])
def test_none_is_the_whole_frame(given):
    config = build({"input.thermal.crop": given})
    assert config.input.thermal.rectangle is None
    frame = Frame(1, COUNTS, "mono16")
    assert crop_frame(frame, None, "input.thermal.crop") is frame


@pytest.mark.parametrize("given", [[-1, 0, 4, 4], [0.5, 0, 4, 4], [1, 2, 3], "left"])
def test_what_is_no_rectangle_is_refused(given):
    with pytest.raises(ConfigError, match=r"input\.rgb\.crop"):
        build({"input.rgb.crop": given})


@pytest.mark.parametrize(
    ("crop", "rows", "columns"),
    [((0, 2, 0, 0), slice(2, None), slice(None)), ((0, 0, 16, 10), slice(10), slice(None)), ((3, 4, 5, 6), slice(4, 10), slice(3, 8))],
)
def test_frames(crop, rows, columns):
    frame = crop_frame(Frame(7, COUNTS, "mono16", "cam", "16UC1"), crop, "input.thermal.crop")
    assert frame.data.tolist() == COUNTS[rows, columns].tolist()
    assert (frame.stamp_ns, frame.encoding, frame.frame_id, frame.source_encoding) == (7, "mono16", "cam", "16UC1")


@pytest.mark.parametrize("crop", [(0, 0, 17, 1), (0, 12, 0, 0), (16, 0, 0, 0), (4, 4, 4, 9), (400, 0, 4, 4)])
def test_a_crop_outside_the_frame_names_option_and_frame(crop):
    with pytest.raises(ImageError, match=r"input\.thermal\.crop \[.*16x12; give"):
        crop_frame(Frame(1, COUNTS, "mono16"), crop, "input.thermal.crop")


def info(width=160, height=122):
    roi = SimpleNamespace(x_offset=0, y_offset=0, height=0, width=0, do_rectify=True)
    k, p = [100.0, 0, 80, 0, 100, 61, 0, 0, 1], [90.0, 0, 80, 5, 0, 90, 61, 0, 0, 0, 1, 0]
    return SimpleNamespace(width=width, height=height, k=k, p=p, roi=roi, d=[0.1] * 5)


def test_camera_info_is_that_of_the_crop():
    found = crop_camera_info(info(), (10, 2, 140, 120))
    assert (found.width, found.height) == (140, 120)
    assert found.k.tolist() == [100, 0, 70, 0, 100, 59, 0, 0, 1]
    assert found.p.tolist() == [90, 0, 70, 5, 0, 90, 59, 0, 0, 0, 1, 0]
    assert vars(found.roi) == {"x_offset": 0, "y_offset": 0, "height": 0, "width": 0, "do_rectify": False}
    assert found.d == [0.1] * 5
    open_ended = crop_camera_info(info(), (0, 2, 0, 0))
    assert (open_ended.width, open_ended.height, open_ended.k[5]) == (160, 120, 59)


def test_the_camera_info_of_a_driver_without_its_telemetry_stays():
    given = info(height=120)
    assert crop_camera_info(given, (0, 2, 160, 120)) is given
    assert crop_camera_info(given, None) is given


def sensor_info(width=1280, height=1024, binning=2):
    """As a driver describes its whole sensor, of which it sends a region with binning."""
    roi = SimpleNamespace(x_offset=200, y_offset=100, width=640, height=512, do_rectify=False)
    k, p = [900.0, 0, 640, 0, 910, 500, 0, 0, 1], [880.0, 0, 630, -50, 0, 890, 510, 0, 0, 0, 1, 0]
    return SimpleNamespace(
        width=width, height=height, k=k, p=p, roi=roi, d=[0.1] * 5, distortion_model="plumb_bob", binning_x=binning, binning_y=binning
    )


def test_camera_info_with_a_region_of_interest_and_binning_is_that_of_the_frames():
    given = sensor_info()
    found = crop_camera_info(given, (10, 20, 300, 200))
    assert (found.width, found.height, found.roi.width, found.binning_x) == (300, 200, 0, 0)
    for name, point in (("k", [0.1, -0.1, 1.0]), ("p", [0.1, -0.1, 1.0, 1.0])):
        (x, y), (u, v) = ((matrix @ point)[:2] for matrix in (np.reshape(getattr(each, name), (3, -1)) for each in (given, found)))
        assert (u, v) == pytest.approx(((x - 200 + 0.5) / 2 - 0.5 - 10, (y - 100 + 0.5) / 2 - 0.5 - 20))
    camera = camera_from_info(given)
    assert camera.size == (256, 320)
    assert camera.matrix[:2, 2] == pytest.approx([(640 - 200 + 0.5) / 2 - 0.5, (500 - 100 + 0.5) / 2 - 0.5])
    assert scaled_camera_info(given, 512, 640).k == pytest.approx([900.0, 0, 440, 0, 910, 400, 0, 0, 1])
    assert given.roi.x_offset == 200
    # A region outside the size: the driver gives size and matrices of the frames.
    assert crop_camera_info(sensor_info(640, 512, binning=1), None).k == given.k


def test_cameras():
    camera = Camera(np.array([[100.0, 0, 80], [0, 100, 61], [0, 0, 1]]), (122, 160))
    found = crop_camera(camera, (0, 2, 160, 120))
    assert found.size == (120, 160)
    assert found.matrix[:2, 2].tolist() == [80, 59]
    assert camera.matrix[1, 2] == 61


def double_frame():
    """As an InfiRay P2 Pro sends it: yuyv of 256x384, above the picture, below the temperatures in 64ths of a kelvin."""
    picture = np.full((192, 256, 2), 128, np.uint8)
    picture[..., 0] = 90
    kelvin64 = np.broadcast_to((19_200 + np.arange(192, dtype="<u2"))[:, None], (192, 256))
    data = picture.tobytes() + np.ascontiguousarray(kelvin64).tobytes()
    header = SimpleNamespace(stamp=SimpleNamespace(sec=1, nanosec=0), frame_id="")
    return SimpleNamespace(header=header, height=384, width=256, encoding="yuv422_yuy2", is_bigendian=0, step=512, data=data), kelvin64


def test_both_halves_of_a_double_frame():
    message, kelvin64 = double_frame()
    picture = crop_frame(decode_thermal(message), (0, 0, 256, 192), "input.thermal.crop")
    assert (picture.encoding, picture.size) == ("mono8", (192, 256))
    assert np.ptp(picture.data) == 0
    counts = crop_frame(decode_thermal(message, "16UC1"), (0, 192, 256, 192), "input.thermal.crop")
    assert (counts.encoding, counts.counts_encoding) == ("mono16", "16UC1")
    assert (counts.data == kelvin64).all()
    with pytest.raises(UnsupportedEncodingError, match=r"'y16'.*input\.\*\.encoding"):
        decode_thermal(message, "y16")


def test_options_of_the_command_line():
    parser = argparse.ArgumentParser()
    add_config_arguments(parser)
    config = config_from(parser.parse_args(["--thermal-crop", "0,192,256,192", "--set", "input.rgb.crop=1,2,3,4"]))
    assert config.input.thermal.rectangle == (0, 192, 256, 192)
    assert config.input.rgb.rectangle == (1, 2, 3, 4)


def test_pictures_are_cropped_and_a_crop_outside_is_an_error_of_the_pair(tmp_path):
    rng = np.random.default_rng(1)
    for name in ("thermal", "rgb"):
        (tmp_path / name).mkdir()
    for stem, rows in (("a", 122), ("b", 100)):
        cv2.imwrite(str(tmp_path / "thermal" / f"{stem}.png"), rng.integers(20_000, 21_000, (rows, 160), np.uint16))
        cv2.imwrite(str(tmp_path / "rgb" / f"{stem}.png"), rng.integers(0, 255, (rows, 160, 3), np.uint8))
    source = open_source(tmp_path / "thermal", tmp_path / "rgb")
    source.inputs = build({"input.thermal.crop": [0, 2, 160, 120]}).input
    first, second = cropped(source)
    assert first.pair.thermal.size == (120, 160)
    assert first.pair.rgb.size == (122, 160)
    assert second.pair is None
    assert "input.thermal.crop [0, 2, 160, 120]" in second.error


def test_two_cameras_in_one_video_with_bars(tmp_path):
    """Thermal 64x48 at (8, 8), rgb 96x64 at (88, 0), black elsewhere."""
    pytest.importorskip("av", reason="PyAV is not installed")
    path, rng = tmp_path / "both.avi", np.random.default_rng(2)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10.0, (192, 64))
    for _ in range(3):
        frame = np.zeros((64, 192, 3), np.uint8)
        frame[8:56, 8:72], frame[:, 88:184] = 150, (40, 30, 200)
        frame[8:56, 8:72] += rng.integers(0, 9, (48, 64, 1), np.uint8)
        writer.write(frame)
    writer.release()
    source = open_source(path, None)
    source.inputs = build({"input.thermal.crop": [8, 8, 64, 48], "input.rgb.crop": [88, 0, 96, 64]}).input
    items = list(cropped(source))
    assert len(items) == 3
    pair = items[0].pair
    assert (pair.thermal.size, pair.thermal.encoding, pair.rgb.size) == ((48, 64), "mono8", (64, 96))
    assert pair.thermal.data.min() > 120
    assert np.abs(pair.rgb.data[32, 48].astype(int) - ((200, 30, 40) if pair.rgb.encoding == "rgb8" else (40, 30, 200))).max() < 12


@pytest.mark.parametrize("command", [["evaluate", "t", "v"], ["view", "BAG"]])
def test_a_command_that_uses_whole_frames_refuses_a_crop(command, tmp_path, capsys):
    for name in ("t", "v"):
        (tmp_path / name).mkdir()
        cv2.imwrite(str(tmp_path / name / "a.png"), np.full((64, 64), 90, np.uint8))
    paths = [str(tmp_path / part) for part in command[1:]]
    assert main([command[0], *paths, "--set", "input.rgb.crop=0,0,32,32"]) == 1
    assert "input.rgb.crop" in capsys.readouterr().err
