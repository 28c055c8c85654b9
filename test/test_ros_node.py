"""The fusing node in its own process: frames in, fused frames and diagnostics out; bad input; cameras that come and go."""

import json
import re
import time
from array import array
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
from ros_harness import ERROR, OK, RELIABLE, SIZE, WARN, Robot, dim_street, make_image, stamp_of, warm_square
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from aenet_ros.core.frames import Frame, FramePair
from aenet_ros.pipeline import FusionPipeline


@pytest.fixture(scope="module")
def shared_robot(tmp_path_factory):
    limits = {"diagnostics.min_rate_hz": 0.0, "diagnostics.max_latency_ms": 0.0}  # no warning because the machine is busy
    limits["degraded.after_s"] = 30.0  # and no fallback frames
    robot = Robot(tmp_path_factory.mktemp("node"), {"diagnostics.period_s": 0.2, "diagnostics.stale_s": 0.8, **limits})
    robot.start_node()
    yield robot
    robot.close()


@pytest.fixture
def robot(shared_robot):
    """The module's node, active and fusing."""
    shared_robot.publish_until_fused()
    return shared_robot


def pixels(message):
    channels = 1 if message.encoding == "mono8" else 3
    return np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, channels)


def test_fused_frame_shows_the_hot_square_and_carries_the_rgb_stamp_and_frame(robot):
    fused = robot.publish_until_fused()
    assert (fused.height, fused.width, fused.encoding, fused.step) == (*SIZE, "rgb8", SIZE[1] * 3)
    assert fused.header.frame_id == "rgb_optical"
    picture = pixels(fused).astype(int)
    hot, beside = picture[62:78, 62:78].mean(), picture[30:50, 62:78].mean()
    assert hot - beside > 60, f"hot square {hot:.0f}, beside it {beside:.0f}"
    cold_corner, rgb_corner = picture[:20, :20], dim_street()[:20, :20].astype(int)
    assert (cold_corner - cold_corner.mean(axis=2, keepdims=True)) == pytest.approx(
        rgb_corner - rgb_corner.mean(axis=2, keepdims=True), abs=3
    ), "colours of the rgb frame are kept"


def test_without_the_packages_of_the_video_messages_the_node_says_so_once(robot):
    absent = [name for name in ("foxglove_msgs", "ffmpeg_image_transport_msgs") if find_spec(name) is None]
    if not absent:
        pytest.skip("both are installed")
    assert robot.log_path.read_text().count(f"not installed: {', '.join(absent)} (") == 1
    assert robot.wait_status("video", OK, "no video topics: not installed" if len(absent) == 2 else "")


def test_registered_thermal_carries_untouched_counts(robot):
    subscription = robot.node.create_subscription(Image, "/fused/thermal_registered", robot.registered.append, RELIABLE)
    robot.wait(lambda: robot.publish() and robot.registered, "a registered frame")
    message = robot.registered[-1]
    robot.node.destroy_subscription(subscription)
    assert message.encoding == "mono16"
    counts = np.frombuffer(message.data, np.uint16).reshape(SIZE)
    np.testing.assert_array_equal(counts, warm_square())


def test_compressed_stream_is_a_jpeg_of_the_fused_picture(robot):
    subscription = robot.node.create_subscription(CompressedImage, "/fused/image/compressed", robot.compressed.append, RELIABLE)
    robot.wait(lambda: robot.publish() and robot.compressed, "a compressed frame")
    message = robot.compressed[-1]
    robot.node.destroy_subscription(subscription)
    assert "jpeg" in message.format
    decoded = cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    same = robot.wait(lambda: next((m for m in robot.fused if stamp_of(m) == stamp_of(message)), None), "the raw frame of that stamp")
    assert np.abs(decoded.astype(int) - pixels(same)).mean() < 4


def test_camera_info_goes_with_the_fused_frames(robot):
    publisher = robot.node.create_publisher(CameraInfo, "/rgb/camera_info", 10)
    subscription = robot.node.create_subscription(CameraInfo, "/fused/camera_info", robot.camera_infos.append, RELIABLE)
    info = CameraInfo(width=SIZE[1], height=SIZE[0], k=[100.0, 0.0, 80.0, 0.0, 100.0, 60.0, 0.0, 0.0, 1.0])

    def arrives():
        publisher.publish(info)
        robot.publish()
        return robot.camera_infos

    robot.wait(arrives, "a camera_info of the fused stream")
    message = robot.camera_infos[-1]
    robot.node.destroy_subscription(subscription)
    robot.node.destroy_publisher(publisher)
    assert list(message.k) == list(info.k)
    assert message.header.frame_id == "rgb_optical"
    robot.wait(lambda: any(stamp_of(m) == stamp_of(message) for m in robot.fused), "a fused frame of the same stamp")


def test_info_tells_device_model_and_configuration(robot):
    info = json.loads(robot.wait(lambda: robot.infos and robot.infos[-1].data, "~/info"))
    assert info["device"] == "cpu"
    assert info["configuration"]["sync.policy"] == "nearest"
    assert len(info["model"]["sha256"]) == 64


def test_diagnostics_count_every_pair(robot):
    for _ in range(20):
        robot.publish()
        robot.wait(lambda: stamp_of(robot.fused[-1]) == robot.stamp_ns if robot.fused else False, "the pair just sent, fused")
    robot.wait_status("fusion", OK, "fused frames a second")
    assert robot.value("fusion", "code") == "FUSION_OK"

    def accounted():
        """Nothing is sent any more, so the next diagnostics have no pair in work."""
        values = {item.key: item.value for item in robot.status("fusion").values}
        skipped = sum(int(value) for key, value in values.items() if key.startswith("not fused"))
        known = int(values["fused"]) + int(values["replaced by a newer pair"]) + int(values["failed"]) + skipped
        return values["failed"] == "0" and int(robot.value("pairing", "pairs")) == known

    robot.wait(accounted, "as many pairs as were fused or counted otherwise", 5)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        pytest.param(lambda m: setattr(m, "encoding", "hologram"), "hologram", id="unknown encoding"),
        pytest.param(lambda m: setattr(m, "data", array("B", bytes(100))), "100", id="truncated data"),
        pytest.param(lambda m: setattr(m, "step", 7), "step", id="step too small"),
        pytest.param(lambda m: (setattr(m, "height", 0), setattr(m, "width", 0)), "0x0", id="0x0"),
        pytest.param(lambda m: (setattr(m, "height", 10000), setattr(m, "width", 10000)), "10000", id="claims 100 Mpx"),
    ],
)
@pytest.mark.parametrize("role", ["thermal", "rgb"])
def test_bad_frames_are_told_and_do_not_stop_the_stream(robot, role, spoil, words):
    bad = make_image(warm_square(), "mono16", 1) if role == "thermal" else make_image(dim_street(), "rgb8", 1)
    spoil(bad)
    rejected = int(robot.value(f"input {role}", "rejected"))
    robot.publish(**{role: bad})
    robot.wait(lambda: int(robot.value(f"input {role}", "rejected") or 0) > rejected, "the bad frame counted")
    assert words in robot.value(f"input {role}", "last rejected because")
    robot.publish_until_fused()
    robot.wait_status(f"input {role}", WARN, words)


def test_nan_thermal_is_fused_without_nan(robot):
    celsius = warm_square().astype(np.float32) / 100 - 273.15
    celsius[10:40, 10:40] = np.nan
    celsius[0, :] = np.inf
    fused = robot.publish_until_fused(thermal=make_image(celsius, "32FC1", 1, "thermal_optical"))
    picture = pixels(fused).astype(int)
    assert picture[62:78, 62:78].mean() - picture[90:110, 62:78].mean() > 40
    assert np.abs(picture[12:38, 12:38] - dim_street()[12:38, 12:38]).mean() < 60


@pytest.mark.parametrize("encoding", ["mono8", "bgr8", "yuv422_yuy2"])
def test_sizes_and_encodings_may_change_in_mid_stream(robot, encoding):
    thermal = make_image(warm_square(20, shape=(60, 80)), "16UC1", 1)
    shape = {"mono8": (96, 128), "bgr8": (90, 121, 3), "yuv422_yuy2": (64, 96, 2)}[encoding]
    rgb = make_image(np.full(shape, 128, np.uint8), encoding, 1, "rgb_optical")
    fused = robot.publish_until_fused(thermal=thermal, rgb=rgb)
    assert (fused.height, fused.width) == shape[:2]
    assert robot.publish_until_fused().width == SIZE[1]


def test_stamps_that_jump_back_are_followed(robot):
    """A bag that loops: an hour back, and on from there."""
    now_ns, back_ns, before = robot.stamp_ns, robot.stamp_ns - 3600 * 10**9, len(robot.fused)
    for index in range(45):
        send(robot, back_ns + index * 40_000_000, back_ns + index * 40_000_000)
        time.sleep(0.04)
    robot.wait(
        lambda: sum(back_ns <= stamp_of(m) < now_ns - 10**12 for m in robot.fused[before:]) >= 20,
        "20 fused frames an hour back",
    )
    robot.publish_until_fused()


def send(robot, thermal_ns=None, rgb_ns=None):
    """One message of each stream that a stamp is given for."""
    if thermal_ns is not None:
        robot.thermal_publisher.publish(make_image(warm_square(), "mono16", thermal_ns, "thermal_optical"))
    if rgb_ns is not None:
        robot.rgb_publisher.publish(make_image(dim_street(), "rgb8", rgb_ns, "rgb_optical"))


def test_a_dead_camera_is_told_and_fusion_comes_back_with_it(robot):
    def thermal_only():
        send(robot, thermal_ns=time.time_ns())
        time.sleep(0.03)
        status = robot.status("input rgb")
        return status and status.level == ERROR and "no rgb frame for" in status.message

    robot.wait(thermal_only, "the dead rgb camera told")
    assert robot.status("input thermal").level == OK
    assert "nothing is fused" in robot.status("fusion").message
    robot.wait(lambda: robot.publish_until_fused() and robot.status("fusion").level == OK, "fusion well again")


def test_clocks_apart_are_told_with_the_offset_to_set(robot):
    def apart():
        now_ns = time.time_ns()
        send(robot, now_ns - 2_500_000_000, now_ns)
        time.sleep(0.03)

    def told():
        apart()
        status = robot.status("pairing")
        found = re.search(r"sync.clock_offset_ms to about (-?\d+)", status.message) if status and status.level == ERROR else None
        return found and abs(int(found[1]) + 2500) < 100

    robot.wait(told, "the clock offset told")
    robot.set_parameters(sync__clock_offset_ms=-2500.0)
    before = len(robot.fused)
    robot.wait(lambda: apart() or len(robot.fused) > before + 5, "fused frames after the offset was set")
    robot.set_parameters(sync__clock_offset_ms=0.0)
    robot.publish_until_fused()


def test_parameters_are_checked_before_they_are_taken(robot):
    (result,) = robot.set_parameters(sync__slop_ms=-3.0)
    assert not result.successful
    (result,) = robot.set_parameters(agc__low_percentile=10.0)
    assert result.successful
    (result,) = robot.set_parameters(atomically=True, agc__fixed_low=500.0, agc__fixed_high=400.0)
    assert not result.successful
    assert "agc.fixed_low (500)" in result.reason
    (result,) = robot.set_parameters(atomically=True, agc__fixed_low=500.0, agc__fixed_high=600.0)
    assert result.successful
    (result,) = robot.set_parameters(model__device="cuda")
    assert not result.successful
    assert "deactivate" in result.reason
    (result,) = robot.set_parameters(sync__slop_ms=30)
    assert result.successful, "an integer will do for a float"
    (result,) = robot.set_parameters(output__encoding="mono8")
    assert result.successful
    robot.wait(lambda: robot.publish_until_fused().encoding == "mono8", "a mono8 frame")
    robot.set_parameters(output__encoding="rgb8", sync__slop_ms=25.0)


def test_a_portrait_frame_on_a_landscape_one_is_said(robot):
    portrait = make_image(warm_square(shape=SIZE[::-1]), "mono16", 0, "thermal_optical")

    def told():
        robot.publish(thermal=portrait)
        time.sleep(0.05)
        status = robot.status("registration")
        return status and status.level == WARN and "stretches the thermal frame by 78 %" in status.message

    robot.wait(told, "a warning of the shapes")


def test_set_enabled_stops_and_resumes_fusion(robot):
    assert robot.set_enabled(False).success
    robot.wait(lambda: robot.publish() and "disabled" in robot.status("fusion").message, "disabled")
    before = len(robot.fused)
    for _ in range(10):
        robot.publish()
        time.sleep(0.03)
    assert len(robot.fused) == before
    assert robot.set_enabled(True).success
    robot.publish_until_fused()


def test_no_subscriber_no_work(robot):
    robot.node.destroy_subscription(robot.image_subscription)
    try:
        robot.wait(lambda: robot.publish() and robot.value("fusion", "subscribers") == "0", "no subscriber seen")
        fused = int(robot.value("fusion", "fused"))
        for _ in range(10):
            robot.publish()
        robot.wait(lambda: robot.publish() and "idle" in robot.status("fusion").message, "idle")
        assert int(robot.value("fusion", "fused")) == fused
    finally:
        robot.image_subscription = robot.node.create_subscription(Image, "/fused/image", robot.fused.append, RELIABLE)
    robot.publish_until_fused()


def test_twenty_lifecycle_rounds(robot):
    for _ in range(20):
        assert robot.transition("deactivate")
        assert robot.transition("activate")
    robot.publish_until_fused()
    assert robot.transition("deactivate")
    assert robot.transition("cleanup")
    robot.wait_status("fusion", WARN, "unconfigured")
    assert robot.set_parameters(model__threads=1)[0].successful, "static options change while unconfigured"
    assert robot.transition("configure")
    assert robot.transition("activate")
    robot.publish_until_fused()


def test_real_smoke_clip(robot, shared_data):
    """Real pairs through real topics: people that the rgb camera cannot see come out brighter than the smoke around them."""
    clip: Path = shared_data / "m3svd_video" / "0117_1605"
    for name in sorted(path.name for path in (clip / "rgb").iterdir())[:12:4]:
        thermal = cv2.imread(str(clip / "thermal" / name), cv2.IMREAD_GRAYSCALE)
        rgb = cv2.imread(str(clip / "rgb" / name), cv2.IMREAD_COLOR)
        fused = robot.publish_until_fused(thermal=make_image(thermal, "mono8", 1), rgb=make_image(rgb, "bgr8", 1, "rgb_optical"))
    fused = pixels(fused).astype(float).mean(axis=2)
    grey = rgb.astype(float).mean(axis=2)
    hot = thermal > np.percentile(thermal, 97)
    assert fused[hot].mean() - grey[hot].mean() > 10
    assert np.corrcoef(fused[~hot], grey[~hot])[0, 1] > 0.7


def test_the_node_publishes_what_the_pipeline_makes_offline(robot):
    """Same input, same bytes: over DDS, and in this process."""
    thermal, rgb = (warm_square() // 40).astype(np.uint8), dim_street()  # 8-bit counts, which no earlier frame has a say in
    fused = robot.publish_until_fused(thermal=make_image(thermal, "mono8", 1), rgb=make_image(rgb, "rgb8", 1))
    offline = FusionPipeline().process(FramePair(Frame(1, thermal, "mono8"), Frame(1, rgb, "rgb8")))
    np.testing.assert_array_equal(pixels(fused), offline.image)
