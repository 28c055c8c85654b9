"""Hostile camera_info, depth images and transforms as hypothesis draws them, and the two good cameras that they are near to."""

import math
import random
from array import array

import numpy as np
from geometry_msgs.msg import TransformStamped
from hypothesis import strategies as st
from ros_harness import make_image, stamp
from sensor_msgs.msg import CameraInfo, Image, RegionOfInterest

SIZE = (24, 32)
ROWS, LENS = [30.0, 0.0, 15.5, 0.0, 30.0, 11.5, 0.0, 0.0, 1.0], [-0.1, 0.01, 0.0, 0.0, 0.0]  # of both cameras
SHIFT = 0.1  # metres between the two cameras
NAMES = ("thermal_optical", "rgb_optical")

NUMBERS = st.one_of(
    st.sampled_from([0.0, -1.0, 1.0, 40.0, 1e-300, 1e9, 1e300, -1.7e308, 5e-324, math.nan, math.inf, -math.inf]), st.floats()
)
SIDES = st.one_of(st.integers(0, 64), st.sampled_from([1, 10_000, 65_535, 2**31 - 1, 2**31, 2**32 - 1]))
LENSES = ["plumb_bob", "rational_polynomial", "equidistant", "fisheye", "none", "", "\x00", "\U0001f525", "Plumb_Bob ", "x" * 5000]


def spoilt(good):
    """The numbers with some of them, or none, replaced by any."""
    return st.dictionaries(st.integers(0, len(good) - 1), NUMBERS, max_size=3).map(
        lambda changes: [changes.get(place, value) for place, value in enumerate(good)]
    )


DISTORTIONS = st.one_of(
    st.lists(NUMBERS, max_size=14),
    spoilt(LENS),
    spoilt([0.01, 0.0, 0.0, 0.0]),
    spoilt([0.2, 0.01, 0.0, 0.0, 0.0, 0.1, 0.0, 0.0]),
    st.tuples(NUMBERS, st.sampled_from([300, 20_000])).map(lambda item: [item[0]] * item[1]),
)
CAMERA_INFOS = st.builds(
    CameraInfo,
    width=st.one_of(st.just(SIZE[1]), SIDES),
    height=st.one_of(st.just(SIZE[0]), SIDES),
    k=spoilt(ROWS),
    d=DISTORTIONS,
    distortion_model=st.one_of(st.sampled_from(LENSES[:3]), st.sampled_from(LENSES), st.text(max_size=8)),
    r=st.sampled_from([[1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0], [0.0] * 9, [math.nan] * 9]),
    p=spoilt([*ROWS[:3], 0.0, *ROWS[3:6], 0.0, *ROWS[6:], 0.0]),
    binning_x=st.sampled_from([0, 2, 2**32 - 1]),
    binning_y=st.sampled_from([0, 3, 2**32 - 1]),
    roi=st.sampled_from([0, 7, 2**32 - 1]).map(lambda n: RegionOfInterest(x_offset=n, y_offset=n, width=n, height=n, do_rectify=n > 0)),
)
ENCODINGS = {"16UC1": 2, "mono16": 2, "32FC1": 4, "mono8": 1, "rgb8": 3, "yuv422": 2, "bayer_rggb8": 1}


@st.composite
def depth_images(draw, now_ns):
    """A depth image of any size and distances; or one that lies in some respect, encodings of any text among them."""
    encoding = draw(st.sampled_from(["16UC1", "32FC1", "32FC1", *ENCODINGS]))
    height, width = draw(st.sampled_from([SIZE, SIZE, (1, 1), (7, 64), (3, 1000), (48, 64), (1, 3000)]))
    if encoding == "32FC1":
        values = np.array(draw(st.lists(st.one_of(NUMBERS, st.floats(0.0, 20.0)), min_size=1, max_size=6)), np.float64)
        with np.errstate(over="ignore"):
            message = make_image(np.resize(values.astype(np.float32), (height, width)), encoding, 0)
    else:
        step = width * ENCODINGS[encoding] + draw(st.sampled_from([0, 0, 5]))
        message = Image(height=height, width=width, encoding=encoding, step=step)
        noise = draw(st.integers(0, 2**32 - 1))
        message.data = array("B", random.Random(noise).randbytes(step * height) if noise % 3 else bytes([noise % 256]) * (step * height))
    stamp(message, draw(st.sampled_from([now_ns, now_ns, now_ns + 1, now_ns - 100_000_000, 0, -(2**31) * 10**9, (2**31 - 1) * 10**9])))
    message.header.frame_id = draw(st.sampled_from(["depth", "", "x" * 5000]))
    lie = draw(st.sampled_from(["", "", "", "height", "width", "step", "encoding", "bytes", "order"]))
    if lie in ("height", "width", "step"):
        setattr(message, lie, draw(SIDES))
    elif lie == "encoding":
        message.encoding = draw(st.one_of(st.text(max_size=10), st.sampled_from(["64FC4", "8UC999", "32FC1 ", "x" * 5000])))
    elif lie == "bytes":
        del message.data[draw(st.integers(0, len(message.data))) :]
    elif lie == "order":
        message.is_bigendian = draw(st.integers(0, 255))
    return message


def transform(parent, child, way=(0.0, 0.0, 0.0), turn=(0.0, 0.0, 0.0, 1.0)):
    stamped = TransformStamped(child_frame_id=child)
    stamped.header.frame_id = parent
    place, rotation = stamped.transform.translation, stamped.transform.rotation
    (place.x, place.y, place.z), (rotation.x, rotation.y, rotation.z, rotation.w) = way, turn
    return stamped


INFO_TOPICS = st.sampled_from(["/thermal/camera_info", "/rgb/camera_info"])
FRAMES = [*NAMES, "/" + NAMES[0], "//" + NAMES[1], "mast", "base", "", "/", "\x00", "\U0001f525", "x" * 5000]
TURNS = st.one_of(
    st.sampled_from([(0.0, 0.0, 0.0, 1.0), (0.5, 0.5, 0.5, 0.5), (0.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.5), (1e200, 0.0, 0.0, 1.0)]),
    spoilt([0.0, 0.0, 0.0, 1.0]),
)
TRANSFORMS = st.builds(transform, st.sampled_from(FRAMES), st.sampled_from(FRAMES), spoilt([SHIFT, 0.0, 0.0]), TURNS)
CLAIMS = st.fixed_dictionaries(
    {
        "height": st.sampled_from([10_000, 65_535, 2**31, 2**32 - 1]),
        "width": st.sampled_from([10_000, 65_536, 2**31, 2**32 - 1]),
        "step": st.sampled_from([0, 1, 10_000, 40_000, 2**31, 2**32 - 1]),
        "encoding": st.sampled_from(list(ENCODINGS)),
        "data": st.integers(0, 2000).map(lambda size: array("B", bytes(size))),
    }
)
