"""The finder of cameras, on topics as the usual drivers publish them: name, encoding, size, frame_id, median of the values, rate."""

from types import SimpleNamespace

import numpy as np
import pytest

from aenet_ros.messages.camera_finder import find_cameras
from aenet_ros.messages.stream_kinds import Stream, stream_of


def stream(topic, encoding="", size=(480, 640), frame_id="", median=None, rate_hz=30.0, **facts):
    return Stream(topic, encoding, size, frame_id, rate_hz, True, median, **facts)


USB_CAM = stream("/image_raw", "yuv422_yuy2", (480, 640), "camera")
V4L2 = stream("/camera/image_raw", "rgb8", (720, 1280), "camera")
REALSENSE_COLOR = stream("/camera/camera/color/image_raw", "rgb8", (720, 1280), "camera_color_optical_frame")
REALSENSE_DEPTH = stream("/camera/camera/depth/image_rect_raw", "16UC1", (480, 848), "camera_depth_optical_frame", 1500.0, zeros=0.2)
REALSENSE_ALIGNED = stream("/camera/camera/aligned_depth_to_color/image_raw", "16UC1", (720, 1280), "camera_color_optical_frame")
REALSENSE_INFRA = [
    stream(f"/camera/camera/infra{number}/image_rect_raw", "mono8", (480, 848), f"camera_infra{number}_optical_frame", 90.0)
    for number in (1, 2)
]
REALSENSE = [REALSENSE_COLOR, REALSENSE_DEPTH, REALSENSE_ALIGNED, *REALSENSE_INFRA]
ZED = [
    *(
        stream(f"/zed/zed_node/{side}/color/rect/image", "bgra8", (540, 960), f"zed_{side}_camera_optical")
        for side in ("rgb", "left", "right")
    ),
    stream("/zed/zed_node/left/gray/rect/image", "mono8", (540, 960), "zed_left_camera_optical"),
    stream("/zed/zed_node/stereo/color/rect/image", "bgra8", (540, 1920), "zed_left_camera_optical"),
    stream("/zed/zed_node/depth/depth_registered", "32FC1", (540, 960), "zed_left_camera_optical", 4.0, zeros=0.1),
    stream("/zed/zed_node/confidence/confidence_map", "32FC1", (540, 960)),
]
OAK = [
    stream("/oak/rgb/image_raw", "bgr8", (720, 1280), "oak_rgb_camera_optical_frame"),
    stream("/oak/left/image_rect", "mono8", (400, 640), "oak_left_camera_optical_frame"),
    stream("/oak/right/image_rect", "mono8", (400, 640), "oak_right_camera_optical_frame"),
    stream("/oak/stereo/image_raw", "16UC1", (720, 1280), "oak_rgb_camera_optical_frame", 2000.0, zeros=0.1),
]
KINECT = [
    stream("/rgb/image_raw", "bgra8", (720, 1280), "rgb_camera_link"),
    stream("/depth/image_raw", "16UC1", (576, 640), "depth_camera_link", 900.0, zeros=0.3),
    stream("/ir/image_raw", "mono16", (576, 640), "depth_camera_link", 300.0),
]
OUTPUTS = [stream("/fused/image", "rgb8"), stream("/thermal/view", "rgb8"), stream("/thermal/temperature", "32FC1")]
BOSON_16 = stream("/flir_boson/image_raw", "mono16", (512, 640), "boson_camera", 22000.0)
BOSON_8 = stream("/flir_boson/image_raw", "mono8", (512, 640), "boson_camera", 90.0, 60.0)
LEPTON = stream("/lepton/image_raw", "mono16", (120, 160), "lepton", 29500.0, 8.7)
OPTRIS = stream("/thermal_image", "mono16", (288, 382), "thermal_image", 1230.0, 80.0)

# By driver: the profile, and the streams; the first one is the thermal camera.
THERMAL = {
    "flir_boson_usb 16 bit": ("boson", BOSON_16),
    "flir_boson_usb 8 bit": ("boson", BOSON_8),
    "flir_boson_usb rectified too": ("boson", BOSON_8, BOSON_8._replace(topic="/flir_boson/image_rect")),
    "flir_boson_usb compressed": ("boson", BOSON_16._replace(topic="/flir_boson/image_raw/compressed")),
    "Boson, usb_cam without a name": ("", stream("/camera1/image_raw", "mono16", (512, 640), "camera1", 21000.0)),
    "Boson, v4l2_camera as grey rgb8": ("", stream("/cam_2/image_raw", "rgb8", (512, 640), "camera", grey=True)),
    "FLIR ADK": ("adk", stream("/flir_adk/image_raw", "mono8", (512, 640), "adk", 100.0)),
    "Lepton TLinear": ("lepton", LEPTON),
    "Lepton without TLinear": ("", LEPTON._replace(median=7900.0)),
    "PureThermal, usb_cam without a name": ("", stream("/video2/image_raw", "mono16", (120, 160), "camera", 29400.0, 8.7)),
    "grey at 9 Hz": ("", stream("/video2/image_raw", "mono8", (480, 640), "camera", 90.0, 8.6)),
    "Spinnaker A-series": ("", stream("/flir_camera/image_raw", "mono16", (480, 640), "flir_camera", 29000.0)),
    "Optris 16 bit": ("optris", OPTRIS),
    "Optris with its false colours": ("optris", OPTRIS, stream("/thermal_image_view", "rgb8", (288, 382))),
    "Optris 32FC1": ("celsius", stream("/optris/thermal_image", "32FC1", (288, 382), "optris", 24.0)),
    "Seek": (
        "seek",
        stream("/seek/radiometric_raw", "32FC1", (240, 320), "seek", 23.0),
        stream("/seek/auto_scaled", "mono8", (240, 320), "seek"),
    ),
    "Seek fixed point": ("", stream("/seek/radiometric_raw", "mono16", (240, 320), "seek", 4000.0)),
    "InfiRay": ("infiray", stream("/infiray/image_raw", "mono16", (192, 256), "infiray", 19000.0, 25.0)),
    "DJI, a stream for each camera": ("", stream("/dji/ir/image", "rgb8", (512, 640), "dji_ir")),
    "OAK-T": (
        "celsius",
        stream("/oak/thermal/raw_data/image_raw", "32FC1", (192, 256), "oak_thermal", 25.0, 25.0),
        stream("/oak/thermal/image_raw", "yuv422", (192, 256), "oak_thermal", rate_hz=25.0),
    ),
    "Gazebo 16 bit": ("centikelvin", stream("/thermal_camera/image", "mono16", (240, 320), "robot/link/thermal_camera", 29800.0)),
    "Gazebo 8 bit": ("gazebo8", stream("/thermal_camera_8bit/image", "mono8", (240, 320), "robot/link/thermal_camera_8bit", 99.0)),
    "float, kelvin or degrees": ("", stream("/thermal/image", "32FC1", (240, 320), "thermal", 295.0)),
    "known by its frame_id": ("", stream("/cam_a/image_raw", "mono8", (480, 640), "lwir_optical")),
}


@pytest.mark.parametrize(("profile", "streams"), [(profile, streams) for profile, *streams in THERMAL.values()], ids=THERMAL)
def test_thermal_cameras_of_the_usual_drivers(profile, streams):
    for others in ([USB_CAM], OAK):
        found = find_cameras([*others, *reversed(streams)])
        assert (found.thermal, found.rgb, found.profile, found.question) == (streams[0].topic, others[0].topic, profile, "")
        assert streams[0].topic in found.why


@pytest.mark.parametrize(
    ("streams", "topic"),
    [
        ([V4L2], "/camera/image_raw"),
        (REALSENSE, "/camera/camera/color/image_raw"),
        (ZED, "/zed/zed_node/rgb/color/rect/image"),
        (ZED[1:], "/zed/zed_node/left/color/rect/image"),
        (OAK, "/oak/rgb/image_raw"),
        ([stream(f"/{side}/image_raw", "bgr8") for side in ("right", "left")], "/left/image_raw"),
        ([stream("/flir_camera/image_raw", "bayer_rggb8", (1080, 1440), "flir_camera")], "/flir_camera/image_raw"),
        ([stream("/visible_image", "yuv422", (480, 640))], "/visible_image"),
        ([stream("/cam/image_raw", "mono8", (512, 640))], "/cam/image_raw"),  # no colours, but no other camera either
        (
            [
                V4L2,
                stream("/yolo/dbg_image", "bgr8"),
                stream("/segmentation/mask", "mono8"),
                stream("/fused/image", "rgb8"),
                stream("/thermal/view", "rgb8"),
            ],
            V4L2.topic,
        ),
        ([V4L2._replace(topic="/camera/image_rect"), V4L2, V4L2._replace(topic="/camera/image_raw/compressed")], "/camera/image_raw"),
    ],
)
def test_rgb_cameras_beside_a_boson(streams, topic):
    found = find_cameras([BOSON_16, *streams])
    assert (found.thermal, found.rgb, found.question) == ("/flir_boson/image_raw", topic, "")


@pytest.mark.parametrize(
    "streams",
    [
        REALSENSE,
        ZED,
        OAK,
        [REALSENSE_COLOR, *REALSENSE_INFRA],
        [REALSENSE_COLOR, REALSENSE_INFRA[0]],
        [*KINECT[:2], KINECT[2]._replace(topic="/camera/ir/image_raw"), KINECT[1]._replace(topic="/camera/depth/image_raw")],
        [V4L2, stream("/mono/image_raw", "mono8", (1080, 1440))],
        [V4L2, stream("/x/image_raw", "16UC1", (480, 640), zeros=0.2)],
        [V4L2, stream("/x/image_raw", "32FC1", (480, 640), median=20.0)],
        [V4L2, stream("/x/image_raw", "mono16", (2048, 2448))],
        [V4L2, stream("/x/image_raw", "mono16", (1024, 1280))],
        [V4L2, stream("/segmentation/image_raw", "mono8", (512, 640))],
        [stream("/main_camera_stream", "rgb8", (720, 1280))],
    ],
)
def test_robots_without_a_thermal_camera(streams):
    found = find_cameras(streams)
    assert found.thermal == ""
    assert "no topic is certain to be thermal" in found.question
    assert found.rgb


def test_near_infrared_beside_depth_is_not_thermal():
    found = find_cameras(KINECT)
    assert (found.thermal, found.rgb) == ("", "/rgb/image_raw")
    assert "near infrared" in found.question


def test_what_is_not_certain_is_asked_for_with_its_candidates():
    two = [V4L2._replace(topic=f"/camera{number}/image_raw") for number in (1, 2)]
    found = find_cameras([BOSON_16, *two])
    assert (found.thermal, found.rgb) == ("/flir_boson/image_raw", "")
    for text in ("rgb: 2 topics come in question", "/camera1/image_raw (rgb8 1280x720, 30.0 Hz, with camera_info)", "/camera2/image_raw"):
        assert text in found.question
    bosons = [BOSON_16._replace(topic=f"/flir_boson{number}/image_raw") for number in (1, 2)]
    found = find_cameras([*bosons, USB_CAM])
    assert (found.thermal, found.rgb) == ("", "/image_raw")
    assert "thermal: 2 topics come in question" in found.question
    unnamed = stream("/cam/image_raw", "mono16", (512, 640), "cam", 21000.0)
    for second in (unnamed, unnamed._replace(frame_id="lwir")):
        assert "thermal: 2 topics come in question" in find_cameras([LEPTON, second, USB_CAM]).question
    night = stream("/front/image_raw", "rgb8", (720, 1280), grey=True)  # lit by infrared lamps
    assert "rgb: 2 topics come in question" in find_cameras([BOSON_16, night, V4L2]).question
    assert find_cameras([*bosons, *two], thermal="/flir_boson2/image_raw", rgb="/camera1/image_raw").question == ""
    assert find_cameras([]).question == "there is no image topic"


def test_the_own_names_and_the_own_namespace_win():
    own = [stream("/r1/thermal/image_raw", "mono8"), stream("/r1/rgb/image_raw", "mono8")]
    found = find_cameras([*own, BOSON_16, V4L2])
    assert (found.thermal, found.rgb) == ("/r1/thermal/image_raw", "/r1/rgb/image_raw")
    robots = [one._replace(topic=f"/fleet/{robot}{one.topic}") for robot in ("r1", "r2") for one in (BOSON_16, V4L2)]
    found = find_cameras([*robots], namespace="/fleet/r2")
    assert (found.thermal, found.rgb) == ("/fleet/r2/flir_boson/image_raw", "/fleet/r2/camera/image_raw")
    assert find_cameras([*robots], namespace="/fleet").question
    # Those of another robot are only named.
    found = find_cameras(robots[2:], namespace="/fleet/r1")
    assert (found.thermal, found.rgb) == ("", "")
    assert found.question.startswith("in /fleet/r1: there is no image topic; elsewhere: thermal: /fleet/r2/flir_boson/image_raw")
    assert found.choice("{role}:={topic}") == "thermal:=/fleet/r2/flir_boson/image_raw rgb:=/fleet/r2/camera/image_raw"


def image(data, encoding):
    header = SimpleNamespace(stamp=SimpleNamespace(sec=1, nanosec=0), frame_id="camera")
    (height, width), step = data.shape[:2], data.strides[0]
    return SimpleNamespace(header=header, height=height, width=width, encoding=encoding, is_bigendian=0, step=step, data=data.tobytes())


def test_facts_are_read_from_a_message():
    counts = np.full((64, 80), 29500, np.uint16)
    counts[:, :40] = 0
    facts = stream_of("/t", image(counts, "mono16"), 9.0, has_info=True)
    assert (facts.encoding, facts.size, facts.median, facts.zeros, facts.rate_hz) == ("mono16", (64, 80), 14750.0, 0.5, 9.0)
    grey = np.full((64, 80, 3), 7, np.uint8)
    assert not stream_of("/t", image(grey, "rgb8")).grey  # so dark a frame of a colour camera tells nothing
    grey[:32] = 90
    assert stream_of("/t", image(grey, "rgb8")).grey
    colours = stream_of("/t", image(np.full((64, 80, 3), (9, 99, 9), np.uint8), "rgb8"))
    assert (colours.encoding, colours.grey) == ("rgb8", False)
    damaged = image(counts, "mono16")
    damaged.data = damaged.data[:10]
    assert stream_of("/t", damaged) == Stream("/t", "mono16", (64, 80), frame_id=damaged.header.frame_id)
