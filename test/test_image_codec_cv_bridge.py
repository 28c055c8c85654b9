"""The image codec against the real cv_bridge, where that is installed."""

import importlib.util
import subprocess
import sys
from array import array

import numpy as np
import pytest

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
