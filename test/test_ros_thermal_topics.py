"""What a live node publishes of its thermal frames: degrees, the coloured view, hot spots, alarms; and with the thermal camera alone."""

import json

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from ros_harness import ERROR, LATCHED, OK, RELIABLE, SIZE, WARN, Robot, dim_street, make_image, stamp_of
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String

SPOT = (100, 60, 20, 20)  # left, top, width, height


def thermal_frame(hot=80.0):
    """mono16 centikelvin [120, 160] of a Lepton by its frame_id: 20 degC, with a body."""
    celsius = np.full(SIZE, 20.0)
    left, top, width, height = SPOT
    celsius[top : top + height, left : left + width] = hot
    return make_image(np.rint((celsius + 273.15) * 100).astype(np.uint16), "mono16", 0, "lepton_optical")


def pixels(message, dtype, channels=()):
    return np.frombuffer(message.data, dtype).reshape(message.height, message.width, *channels)


@pytest.fixture(scope="module")
def robot(tmp_path_factory):
    parameters = {
        "alarms.regions": "boiler 90,50 130,90 pre=60 high=70",
        "diagnostics.period_s": 0.2,
        "registration.mode": "homography",
        "registration.homography": "[1.0, 0.0, 4.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]",  # rgb x is 4 less than thermal x
    }
    robot = Robot(tmp_path_factory.mktemp("robot"), parameters)
    robot.received = {}
    robot.start_node()
    yield robot
    robot.close()


@pytest.fixture
def listen(robot):
    """Subscribes; the test's subscriptions end with it."""
    made = []

    def subscribe(kind, topic, qos=RELIABLE):
        messages = []
        made.append(robot.node.create_subscription(kind, topic, messages.append, qos))
        return messages

    yield subscribe
    for subscription in made:
        robot.node.destroy_subscription(subscription)


def publish_until(robot, condition, what, hot=80.0, rgb=True):
    """Publish at 20 Hz until it is so; both cameras, or the thermal one alone."""

    def step():
        message = thermal_frame(hot)
        if rgb:
            robot.publish(message, make_image(dim_street(), "rgb8", 0, "rgb_optical"))
        else:
            robot.publish_thermal(message)
        return condition()

    return robot.wait(step, what, 60.0)


def alarms_say(robot, level, words):
    status = robot.status("alarms")
    return status and status.level == level and words in status.message


def test_degrees_view_spots_and_an_alarm(robot, listen):
    degrees, fused, view = listen(Image, "/thermal/temperature"), listen(Image, "/fused/temperature"), listen(Image, "/thermal/view")
    jpeg, spots = listen(CompressedImage, "/thermal/view/compressed"), listen(String, "/hot_spots/json")
    alarms = listen(DiagnosticArray, "/alarms", LATCHED)
    publish_until(robot, lambda: all((degrees, fused, view, jpeg, spots, alarms)), "one message of each topic")
    assert "agc.profile lepton by the conventions of the camera's driver" in robot.log()
    left, top = SPOT[:2]
    celsius = pixels(degrees[-1], np.float32)
    assert (degrees[-1].encoding, degrees[-1].header.frame_id) == ("32FC1", "lepton_optical")
    assert celsius[top + 5, left + 5] == pytest.approx(80.0, abs=0.01)
    assert celsius[5, 5] == pytest.approx(20.0, abs=0.01)
    celsius = pixels(fused[-1], np.float32)
    assert fused[-1].header.frame_id == "rgb_optical"
    assert celsius[top + 5, left - 4] == pytest.approx(80.0, abs=0.01)
    assert celsius[top + 5, left - 5] == pytest.approx(20.0, abs=0.01)
    assert np.isnan(celsius[:, -2:]).all()  # beyond the thermal view
    picture = pixels(view[-1], np.uint8, (3,))
    assert picture[top + 5, left + 5].min() > picture[5, 5].max()  # ironbow: white and black
    assert jpeg[-1].data[:2].tobytes() == b"\xff\xd8"
    report = json.loads(spots[-1].data)
    assert [spot["box"] for spot in report["spots"]] == [list(SPOT)]
    x, y = report["spots"][0]["peak"]
    assert report["spots"][0]["fused"] == [x - 4, y]
    assert report["maximum"] == pytest.approx(80.0, abs=0.01)
    publish_until(robot, lambda: alarms_say(robot, ERROR, "boiler has 80.0 degC"), "the alarm in diagnostics")
    assert alarms[-1].status[0].level == ERROR
    assert alarms[-1].status[0].name == "/fusion: boiler"
    late = listen(DiagnosticArray, "/alarms", LATCHED)
    robot.wait(lambda: late and late[0].status[0].level == ERROR, "the alarm for one who comes later")
    publish_until(robot, lambda: alarms[-1].status[0].level == OK, "the end of the alarm", hot=40.0)


def test_markers_for_rviz_and_foxglove(robot, listen):
    visualization = pytest.importorskip("visualization_msgs.msg", reason="visualization_msgs is not installed: markers are not published")
    images, arrays = listen(visualization.ImageMarker, "/hot_spots/image_marker"), listen(visualization.MarkerArray, "/hot_spots/markers")
    publish_until(robot, lambda: images and arrays, "markers")
    left, top, width, height = SPOT
    xs, ys = {point.x for point in images[-1].points}, {point.y for point in images[-1].points}
    assert (min(xs), max(xs)) == (left - 4, left + width - 1 - 4)
    assert (min(ys), max(ys)) == (top, top + height - 1)
    assert arrays[-1].markers == []  # a homography tells no distance


def test_all_of_it_works_without_a_listener_of_the_fused_picture_and_without_an_rgb_camera(robot, listen):
    robot.node.destroy_subscription(robot.image_subscription)
    degrees = listen(Image, "/thermal/temperature")
    publish_until(robot, lambda: degrees, "degrees while nobody looks at the fused picture")
    seen = len(robot.diagnostics)
    publish_until(robot, lambda: len(robot.diagnostics) > seen + 2 and robot.value("fusion", "subscribers") == "0", "the status")
    assert robot.value("temperature", "subscribed") == "thermal/temperature"
    fused = int(robot.value("fusion", "fused"))
    for policy in ("silence", "hold", "passthrough"):
        robot.set_parameters(degraded__policy=policy)
        publish_until(robot, lambda: robot.value("degraded", "rgb") == "silent", "the rgb camera's silence", rgb=False)
        degrees.clear()
        stamp = publish_until(robot, lambda: degrees and stamp_of(degrees[-1]), f"degrees with policy {policy}", rgb=False)
        assert stamp <= robot.stamp_ns
        publish_until(robot, lambda: alarms_say(robot, ERROR, "boiler has 80.0 degC"), "the alarm", rgb=False)
        publish_until(robot, lambda: robot.value("degraded", "rgb") == "ok", "both cameras")
    assert int(robot.value("fusion", "fused")) == fused  # nobody wanted a picture


def test_regions_without_frames_are_an_error_and_bad_ones_are_refused(robot):
    message = robot.wait_status("alarms", ERROR, "no thermal frame", 60).message
    assert "before that: boiler has 80.0 degC" in message
    result = robot.set_parameters(alarms__regions="boiler 1,2 high=3")[0]
    assert not result.successful
    assert "give a name and corners" in result.reason
    result = robot.set_parameters(output__palette="iron")[0]
    assert "ironbow" in result.reason


def test_a_camera_without_degrees_is_refused_in_words_and_has_spots_in_grey_levels(robot, listen):
    robot.set_parameters(agc__profile="generic")
    degrees, spots = listen(Image, "/thermal/temperature"), listen(String, "/hot_spots/json")
    publish_until(robot, lambda: spots and json.loads(spots[-1].data)["unit"] == "grey level", "spots in grey levels")
    publish_until(robot, lambda: robot.status("temperature").level == WARN, "the warning")
    assert "agc.profile" in robot.status("temperature").message
    assert "agc.profile" in robot.status("alarms").message
    assert len(json.loads(spots[-1].data)["spots"]) == 1
    degrees.clear()
    publish_until(robot, lambda: len(spots) > 5, "more frames")
    assert degrees == []
