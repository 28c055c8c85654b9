"""A live node whose cameras die, freeze, go black and come late: what it publishes meanwhile, what it counts, and that it recovers."""

import time

import numpy as np
import pytest
from ros_harness import ERROR, OK, RELIABLE, SIZE, WARN, Robot, assert_counts, dim_street, make_image, stamp_of, warm_square
from sensor_msgs.msg import Image
from std_msgs.msg import Bool

PERIOD_S = 1 / 30
RNG = np.random.default_rng(5)


class Cameras:
    """Both cameras at 30 Hz, with noise, in the test's own thread; ``run`` may spoil one meanwhile."""

    def __init__(self, robot):
        self.robot = robot
        self.sent = {"thermal": [], "rgb": []}
        self.pictures = {}

    def run(self, seconds, thermal="well", rgb="well", last="rgb"):
        """For each stream: well, dead, frozen, black, saturated, or a number: seconds by which it comes late. Stamps sent meanwhile.

        ``last`` is the camera whose frame of an instant is sent second.
        """
        begun = {role: len(stamps) for role, stamps in self.sent.items()}
        end, due = time.monotonic() + seconds, time.monotonic()
        late = []
        while time.monotonic() < end:
            now_ns = time.time_ns()
            for role, state in sorted((("thermal", thermal), ("rgb", rgb)), key=lambda stream: stream[0] == last):
                if state == "dead":
                    continue
                message = self.picture(role, state, now_ns)
                if isinstance(state, float):
                    late.append((time.monotonic() + state, role, message))
                else:
                    self.send(role, message)
            while late and late[0][0] <= time.monotonic():
                self.send(*late.pop(0)[1:])
            due += PERIOD_S
            time.sleep(max(0.0, due - time.monotonic()))
        return {role: stamps[begun[role] :] for role, stamps in self.sent.items()}

    def run_until(self, condition, what, **states):
        """Send on until it is so: on a busy machine that takes longer."""
        self.robot.wait(lambda: self.run(0.2, **states) and condition(), what, timeout_s=60)

    def send(self, role, message):
        self.sent[role].append(stamp_of(message))
        (self.robot.thermal_publisher if role == "thermal" else self.robot.rgb_publisher).publish(message)

    def picture(self, role, state, stamp_ns):
        if state != "frozen" or role not in self.pictures:
            data = warm_square() if role == "thermal" else dim_street()
            noisy = data.astype(np.int32) + np.rint(RNG.normal(0, 6 if role == "thermal" else 2, data.shape)).astype(np.int32)
            self.pictures[role] = np.clip(noisy, 0, 65535 if role == "thermal" else 255).astype(data.dtype)
        data = self.pictures[role]
        if state in ("black", "saturated"):
            data = np.full_like(data, 0 if state == "black" else np.iinfo(data.dtype).max)
        return make_image(data, "mono16" if role == "thermal" else "rgb8", stamp_ns, f"{role}_optical")


@pytest.fixture(scope="module")
def shared_robot(tmp_path_factory):
    robot = Robot(tmp_path_factory.mktemp("degraded"), {"diagnostics.period_s": 0.1, "degraded.frozen_s": 0.6})
    robot.start_node()
    robot.publish_until_fused()
    yield robot
    robot.close()


@pytest.fixture
def robot(shared_robot):
    """The module's node, fusing and told of no fault."""
    shared_robot.cameras = Cameras(shared_robot)
    shared_robot.set_parameters(degraded__policy="passthrough", sync__max_latency_ms=0.0)
    for _ in range(40):
        shared_robot.cameras.run(0.15)
        status = shared_robot.status("degraded")
        if status and status.level == OK:
            break
    shared_robot.wait_status("degraded", OK, "both cameras work")
    shared_robot.fused.clear()
    shared_robot.diagnostics.clear()
    yield shared_robot
    assert_counts(shared_robot)


def grey_of(message):
    return np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, -1).astype(int)


def received(robot, stamps):
    wanted = set(stamps)
    return [message for message in robot.fused if stamp_of(message) in wanted]


def told(robot, words):
    """The values of the last status "degraded" with these words since the test began; what comes after the frames end is another matter."""

    def find():
        for message in reversed(robot.diagnostics):
            for status in message.status:
                if status.name == "/fusion: degraded" and words in status.message:
                    return status
        return None

    status = robot.wait(find, f"status degraded with '{words}'")
    assert status.level == (ERROR if "works again" in words else WARN)
    return {item.key: item.value for item in status.values}


def is_passed_through(robot, role):
    """Whether diagnostics count a published picture of this camera: on a busy machine the count changes after the message."""
    status = robot.status("degraded")
    return f"the {role} picture is passed through" in status.message and robot.value("degraded", f"published: {role}")


def recovers(robot):
    """Seconds until fused frames come again, with both cameras well."""
    robot.fused.clear()
    begun = time.monotonic()
    while time.monotonic() - begun < 10:
        robot.cameras.run(0.1)
        if robot.status("degraded").level == OK:
            return time.monotonic() - begun
    return pytest.fail("no recovery in 10 s")


@pytest.mark.parametrize("state", ["dead", "frozen", "saturated"])
def test_while_the_thermal_camera_fails_the_rgb_picture_is_passed_through_as_it_is(robot, state):
    robot.cameras.run(1.1, thermal=state)
    robot.cameras.run_until(lambda: is_passed_through(robot, "rgb"), "rgb pictures passed through", thermal=state)
    sent = robot.cameras.run(0.5, thermal=state)["rgb"][:-3]
    values = told(robot, "the rgb picture is passed through")
    assert values["thermal"] == ("silent" if state == "dead" else state)
    assert int(values["published: rgb"]) > 0
    passed = received(robot, sent)
    assert len(passed) >= 0.8 * len(sent)
    for message in passed:
        assert (message.header.frame_id, message.encoding) == ("rgb_optical", "rgb8")
        # The noise is on each frame: only a picture passed through whole is within it.
        assert np.abs(grey_of(message) - dim_street()).max() < 14
    assert recovers(robot) < 2.0


@pytest.mark.parametrize("state", ["dead", "black"])
def test_while_the_rgb_camera_fails_the_thermal_picture_stands_in_on_its_grid(robot, state):
    registered = []
    subscription = robot.node.create_subscription(Image, "/fused/thermal_registered", registered.append, RELIABLE)
    robot.cameras.run(1.1, rgb=state)
    sent = robot.cameras.run(0.5, rgb=state)["thermal"][:-3]
    told(robot, "the thermal picture is passed through")
    robot.node.destroy_subscription(subscription)
    passed = received(robot, sent)
    assert len(passed) >= 0.8 * len(sent)
    for message in passed:
        assert (message.height, message.width, message.header.frame_id) == (*SIZE, "rgb_optical")
        picture = grey_of(message)
        assert (picture[..., 0] == picture[..., 1]).all()
        assert picture[62:78, 62:78].min() > 200
        assert picture[20:50, 20:50].max() < 60
    assert any(stamp_of(message) in sent for message in registered)
    assert recovers(robot) < 2.0


def test_hold_sends_the_last_fused_frame_again_with_its_own_stamp(robot):
    robot.set_parameters(degraded__policy="hold")
    good = set(robot.cameras.run(0.5)["rgb"])
    sent = robot.cameras.run(1.5, thermal="dead")["rgb"]
    told(robot, "the last fused frame is held")
    held = [stamp_of(message) for message in robot.fused[-10:]]
    assert len(set(held)) == 1
    assert held[0] in good
    assert not received(robot, sent)


def test_hold_goes_on_while_both_cameras_are_dead(robot):
    """Some cameras die together: with their hub, or with their power."""
    robot.set_parameters(degraded__policy="hold")
    good = set(robot.cameras.run(0.5)["rgb"])
    status = robot.wait_status("degraded", ERROR, "the last fused frame is held until a camera works again")
    assert {item.key: item.value for item in status.values}["shows"] == "nothing"
    robot.fused.clear()
    begun = time.monotonic()
    robot.wait(lambda: len(robot.fused) >= 10, "ten frames though no camera sends")
    assert {stamp_of(message) for message in robot.fused} <= good
    assert len({stamp_of(message) for message in robot.fused}) == 1
    assert time.monotonic() - begun > 0.5  # ten a second, no flood
    assert recovers(robot) < 3.0


def test_silence_publishes_nothing(robot):
    robot.set_parameters(degraded__policy="silence")
    sent = robot.cameras.run(2.0, rgb="dead")["thermal"]
    told(robot, "nothing is published; fusion")
    assert not received(robot, sent)


def test_both_dead_is_an_error_and_fusion_comes_back_by_itself(robot):
    told(robot, "nothing is published until a camera works again")
    assert recovers(robot) < 3.0


def test_pairs_that_are_too_old_are_dropped_and_counted_and_the_late_camera_named(robot):
    robot.set_parameters(sync__max_latency_ms=150.0)
    robot.cameras.run(1.0)
    before = int(robot.value("fusion", "not fused: too_old") or 0)
    robot.fused.clear()
    robot.cameras.run(2.0, thermal=0.25)  # later than allowed, and sooner than the queue of 10 frames would drop its partner
    values = told(robot, "older than sync.max_latency_ms")
    assert values["thermal"] == "late"
    assert int(values["published: rgb"]) > 0
    lost = sum(int(robot.value("fusion", f"not fused: {reason}") or 0) for reason in ("too_old", "degraded"))
    assert lost > before
    robot.set_parameters(sync__max_latency_ms=0.0)


def test_while_the_driver_says_that_the_shutter_is_closed_the_last_good_thermal_frame_is_used(robot):
    publisher = robot.node.create_publisher(Bool, "/thermal/shutter", 10)
    robot.cameras.run(0.4)
    held = int(robot.value("quality", "thermal frames held"))
    publisher.publish(Bool(data=True))
    robot.cameras.run_until(lambda: int(robot.value("quality", "thermal frames held")) > held + 5, "held frames")
    publisher.publish(Bool(data=False))
    robot.cameras.run_until(lambda: robot.value("quality", "shutter") == "open", "the shutter open again")
    robot.node.destroy_publisher(publisher)


def is_fused(message):
    """The hot square shows: an rgb picture passed through has none."""
    picture = grey_of(message).mean(axis=2)
    return picture[62:78, 62:78].mean() - picture[30:50, 62:78].mean() > 40


def test_the_other_camera_takes_over_and_fusion_comes_back(robot, record_property):
    """Takes over after after_s (0.5 s), comes back after recover_s (0.3 s). The limits allow a busy machine more."""

    def first_ns(fused, since_ns):
        return next((stamp_of(item) for item in robot.fused if stamp_of(item) >= since_ns and is_fused(item) == fused), 0)

    died_ns = time.time_ns()
    robot.cameras.run_until(lambda: first_ns(False, died_ns), "rgb frames passed through", thermal="dead")
    back_ns = time.time_ns()
    robot.cameras.run_until(lambda: first_ns(True, back_ns), "fused frames")
    took_s, recovered_s = (first_ns(False, died_ns) - died_ns) / 1e9, (first_ns(True, back_ns) - back_ns) / 1e9
    record_property("took over and recovered", f"{took_s:.2f} s, {recovered_s:.2f} s")
    assert 0.3 < took_s < 5.0
    assert 0.2 < recovered_s < 5.0


@pytest.mark.parametrize("dead", ["thermal", "rgb"])
def test_no_instant_is_shown_twice_when_a_camera_is_back(robot, dead):
    """Its first trusted frame completes a pair whose other frame, which came first, has just stood in."""
    robot.cameras.run(1.2, **{dead: "dead"})
    robot.cameras.run(0.2)
    robot.cameras.run(1.0, last=dead)
    robot.wait_status("degraded", OK, "both cameras work")
    stamps = [stamp_of(message) for message in robot.fused]
    assert is_fused(robot.fused[-1])
    assert stamps == sorted(set(stamps))
    assert_counts(robot)
