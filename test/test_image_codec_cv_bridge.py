"""The image codec against the real cv_bridge, where that is installed; and what is said where it is not."""

import importlib.util
import re
import subprocess
import sys
from array import array

import numpy as np
import pytest

from aenet_ros.core.errors import UnsupportedEncodingError
from aenet_ros.messages import codec as image_codec

HEIGHT, WIDTH = 24, 32


@pytest.fixture(scope="module")
def bridge():
    """A CvBridge; skips where there is none, or one built for another NumPy (that crashes the process on use, so a child tries it)."""
    if importlib.util.find_spec("cv_bridge") is None:
        pytest.skip("cv_bridge is not installed")
    trial = "import numpy, cv_bridge.boost.cv_bridge_boost as b; b.cvtColor2(numpy.zeros((2, 2, 3), numpy.uint8), 'rgb8', 'bgr8')"
    if subprocess.run([sys.executable, "-c", trial], capture_output=True, timeout=60, check=False).returncode:
        pytest.skip("cv_bridge does not work with this NumPy or OpenCV")
    from cv_bridge import CvBridge

    return CvBridge()


def message(encoding, pixel_bytes, padding=0, rows=HEIGHT):
    """A real sensor_msgs/Image of noise that is smooth enough for demosaicing to be compared."""
    messages = pytest.importorskip("sensor_msgs.msg", reason="sensor_msgs is not installed")
    step = WIDTH * pixel_bytes + padding
    data = np.random.default_rng(5).integers(0, 256, rows * step, np.uint8)
    return messages.Image(height=HEIGHT, width=WIDTH, encoding=encoding, step=step, data=array("B", data.tobytes()))


@pytest.mark.parametrize("padding", [0, 8])
@pytest.mark.parametrize(("encoding", "pixel_bytes"), [("mono8", 1), ("8UC1", 1), ("mono16", 2), ("16UC1", 2), ("32FC1", 4)])
def test_counts_as_cv_bridge_reads_them(bridge, encoding, pixel_bytes, padding):
    image = message(encoding, pixel_bytes, padding)
    np.testing.assert_array_equal(image_codec.decode_thermal(image).data, bridge.imgmsg_to_cv2(image))


@pytest.mark.parametrize(
    ("encoding", "pixel_bytes"),
    [("rgb8", 3), ("bgr8", 3), ("rgba8", 4), ("bgra8", 4), ("yuv422", 2), ("yuv422_yuy2", 2)]
    + [(f"bayer_{pattern}8", 1) for pattern in ("rggb", "bggr", "gbrg", "grbg")],
)
def test_colours_as_cv_bridge_converts_them(bridge, encoding, pixel_bytes):
    image = message(encoding, pixel_bytes)
    try:
        bridge.encoding_to_cvtype2(encoding)
    except TypeError as error:  # CvBridgeError
        pytest.skip(f"this cv_bridge does not know it: {error}")
    frame = image_codec.decode_rgb(image)
    np.testing.assert_array_equal(frame.data, bridge.imgmsg_to_cv2(image, frame.encoding))


def test_luma_of_pseudo_colour_as_cv_bridge_converts_it(bridge):
    image = message("bgr8", 3)
    np.testing.assert_array_equal(image_codec.decode_thermal(image).data, bridge.imgmsg_to_cv2(image, "mono8"))


@pytest.mark.parametrize(
    ("encoding", "data"),
    [("16UC1", np.arange(12, dtype=np.uint16).reshape(3, 4)), ("rgb8", np.arange(24, dtype=np.uint8).reshape(2, 4, 3))],
)
def test_what_fill_image_writes_cv_bridge_reads(bridge, encoding, data):
    image = message("mono8", 1)
    image_codec.fill_image(image, data, encoding)
    np.testing.assert_array_equal(bridge.imgmsg_to_cv2(image), data)


def test_encodings_outside_the_table_go_through_cv_bridge(bridge):
    deep = message("rgb16", 6)
    frame = image_codec.decode_rgb(deep)
    assert (frame.encoding, frame.source_encoding, frame.data.dtype) == ("rgb8", "rgb16", np.uint8)
    counts = np.frombuffer(deep.data, np.uint16).reshape(HEIGHT, WIDTH, 3)
    assert np.abs(frame.data - counts / 257.0).max() <= 0.5
    signed = message("16SC1", 2)
    frame = image_codec.decode_thermal(signed)
    assert frame.encoding == "32FC1"
    np.testing.assert_array_equal(frame.data, np.frombuffer(signed.data, np.int16).reshape(HEIGHT, WIDTH))


@pytest.mark.parametrize("changes", [{"height": 0}, {"width": 4000}, {"height": 4000}, {"step": 1}])
def test_wrong_sizes_outside_the_table_are_errors_too(bridge, changes):
    image = message("16SC1", 2)
    for name, value in changes.items():
        setattr(image, name, value)
    with pytest.raises(image_codec.ImageError):
        image_codec.decode_thermal(image)


def test_without_a_cv_bridge_that_works_the_error_says_so():
    image = message("rgb16", 6)
    try:
        frame = image_codec.decode_rgb(image)
    except UnsupportedEncodingError as error:
        assert re.search("'rgb16' is not supported: cv_bridge.* (not installed|does not work).*use one of mono8", str(error))  # noqa: PT017
    else:
        assert frame.data.shape == (HEIGHT, WIDTH, 3)
