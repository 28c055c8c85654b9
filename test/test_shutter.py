"""Shutter events against the rig's truth, still pictures against noise, and what stands in for pictures of the shutter."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from configured import Hold

from aenet_ros.config import DegradedConfig, ShutterConfig
from aenet_ros.core.frames import Frame
from aenet_ros.health.quality import picture_fault
from aenet_ros.thermal.ffc import FrozenDetector, sample
from aenet_ros.workbench.simulation.rig import Rig
from aenet_ros.workbench.simulation.rig_config import RigConfig

START = 1_750_000_000_000_000_000
MS = 1_000_000
SMALL = {"thermal_width": 320, "thermal_height": 256, "rgb_width": 64, "rgb_height": 64, "rgb_hz": 0.1, "scene_s": 60.0}


def thermal_of(seconds, **settings):
    return [event for event in Rig(RigConfig(**SMALL, **settings)).events(seconds, START) if event.stream == "thermal"]


@pytest.mark.parametrize(
    ("settings", "as_seen"),
    [
        pytest.param({}, None, id="counts"),
        pytest.param({"motion": 0.0, "walking": False}, None, id="nothing moves"),
        pytest.param({"thermal_hz": 9.0}, None, id="9 Hz"),
        pytest.param({}, lambda data: ((data.astype(np.float32) - 27_500) / 20).clip(0, 255).astype(np.uint8), id="8 bit"),
    ],
)
def test_every_event_of_the_rig_is_found_and_nothing_else(settings, as_seen):
    bridge, found, events = Hold(), [], 0
    shots = thermal_of(13, shutter_period_s=3.0, shutter_s=0.4, **settings)
    for event in shots:
        frame = event.frame if as_seen is None else replace(event.frame, data=as_seen(event.frame.data), encoding="mono8")
        bridge.apply(frame)
        found.append(bridge.closed)
    truth = [event.shot.shutter for event in shots]
    events = sum(now and not before for before, now in zip([False, *truth], truth, strict=False))
    assert events == bridge.counts.events == 4
    # A repeated frame cannot be told from a pause before it has lasted 0.1 s or 2.5 periods, whichever is longer.
    assert not any(seen and not real for seen, real in zip(found, truth, strict=True))
    missed = sum(real and not seen for seen, real in zip(found, truth, strict=True))
    assert missed <= 4 * (3 if settings.get("thermal_hz") else 4)
    assert bridge.counts.repeated == sum(truth)


def test_a_camera_that_sends_each_picture_three_times_has_no_shutter_events():
    """As cameras do that must not give more than 9 new pictures a second: 27 Hz, every third of them new."""
    shots = thermal_of(8, thermal_hz=27.0)
    bridge = Hold()
    for index, event in enumerate(shots):
        bridge.apply(replace(event.frame, data=shots[index - index % 3].frame.data))
    assert bridge.counts.events == 0
    assert bridge.counts.repeated > len(shots) / 2


def test_pictures_of_the_shutter_are_bridged_with_the_last_good_frame_for_a_second_at_most():
    bridge, used = Hold(ShutterConfig(bridge_s=1.0)), []
    rng = np.random.default_rng(2)
    shots = thermal_of(6)
    for event in shots:
        at_ms = event.shot.at_ns / MS
        frame = event.frame
        if 2000 <= at_ms < 2400 or 4000 <= at_ms < 5500:  # the second lasts longer than is bridged
            frame = replace(frame, data=(30_000 + rng.normal(0, 6, frame.data.shape)).astype(np.uint16))
        used.append((at_ms, bridge.apply(frame)))
    flat = [at_ms for at_ms, frame in used if frame.data.std() < 20]
    assert not [at_ms for at_ms in flat if at_ms < 4900]
    assert [at_ms for at_ms in flat if at_ms > 5000]
    assert bridge.counts.events == 2
    assert bridge.counts.bridged == pytest.approx(12 + 30, abs=2)
    assert all(frame.stamp_ns == event.frame.stamp_ns for (_, frame), event in zip(used, shots, strict=True))


def test_a_camera_that_tells_of_its_shutter_is_believed():
    bridge = Hold()
    first, second, third = (event.frame for event in thermal_of(0.1))
    assert bridge.apply(first) is first
    bridge.driver_closed = True
    assert bridge.apply(second).data is first.data
    assert bridge.closed
    bridge.driver_closed = False
    assert bridge.apply(third) is third
    assert (bridge.counts.events, bridge.counts.bridged, bridge.closed) == (1, 1, False)


def test_with_nothing_to_bridge_every_frame_is_used_as_it_is():
    bridge = Hold(ShutterConfig(bridge_s=0.0))
    for event in thermal_of(3, shutter_period_s=1.5):
        assert bridge.apply(event.frame) is event.frame


def test_a_hot_body_that_leaves_is_no_shutter():
    bridge = Hold()
    rng = np.random.default_rng(3)
    for index in range(120):
        data = 29_000 + rng.normal(0, 6, (120, 160)) + np.linspace(0, 300, 120)[:, None]
        left = max(0.0, 1 - max(0, index - 60) / 15)  # it takes half a second to walk out of the picture
        data[:, : int(80 * left)] = 32_000
        bridge.apply(Frame(START + index * 33 * MS, data.astype(np.uint16), "mono16"))
    assert bridge.counts.events == bridge.counts.bridged == 0


def test_real_frames_are_new_and_repeated_ones_are_seen(shared_data):
    folder = shared_data / "m3svd_video" / "0117_1605"
    for role in ("thermal", "rgb"):
        watch = FrozenDetector()
        flags = cv2.IMREAD_GRAYSCALE if role == "thermal" else cv2.IMREAD_COLOR
        frames = [cv2.imread(str(path), flags) for path in sorted((folder / role).iterdir())[:40]]
        encoding = "mono8" if role == "thermal" else "bgr8"
        stills = []
        for index in range(60):
            frame = Frame(START + index * 40 * MS, frames[min(index, 39)], encoding)
            stills.append(watch.update(frame.stamp_ns, sample(frame)))
        assert not any(stills[:40])
        assert all(stills[40:])
        assert watch.still_ns == 20 * 40 * MS


def test_a_picture_without_noise_never_stands_still():
    watch, picture = FrozenDetector(), np.arange(2000, dtype=np.float32)
    assert not any(watch.update(START + index * 33 * MS, picture) for index in range(100))
    assert watch.still_ns == 0


DIM = np.random.default_rng(0).integers(0, 40, (60, 80, 3)).astype(np.uint8)
RED = np.zeros((60, 80, 3), np.uint8)
RED[..., 0] = 60
SCENE = np.random.default_rng(1).normal(29_000, 100, (60, 80))


@pytest.mark.parametrize(
    ("role", "encoding", "data", "fault"),
    [
        ("rgb", "rgb8", DIM, ""),
        ("rgb", "rgb8", RED, ""),
        ("rgb", "rgb8", DIM // 20, "black"),
        ("rgb", "mono8", DIM[..., 0] // 20, "black"),
        ("rgb", "bgr8", np.full((60, 80, 3), 253, np.uint8), "saturated"),
        ("thermal", "mono16", SCENE.astype(np.uint16), ""),
        ("thermal", "mono16", np.full((60, 80), 29_000, np.uint16), "black"),
        ("thermal", "mono16", np.zeros((60, 80), np.uint16), "black"),
        ("thermal", "mono16", np.full((60, 80), 65_535, np.uint16), "saturated"),
        ("thermal", "mono16", np.full((60, 80), 16_383, np.uint16), "saturated"),
        ("thermal", "mono8", np.full((60, 80), 255, np.uint8), "saturated"),
        ("thermal", "32FC1", (SCENE - 29_200).astype(np.float32), ""),
        ("thermal", "32FC1", np.full((60, 80), np.nan, np.float32), "black"),
    ],
)
def test_black_and_saturated_pictures(role, encoding, data, fault):
    frame = Frame(1, data, encoding)
    assert picture_fault(role, frame, sample(frame), DegradedConfig()) == fault


@pytest.mark.parametrize("scene", ["day", "night", "smoke"])
def test_none_of_the_rigs_scenes_is_at_fault(scene):
    for event in Rig(RigConfig(scenes=scene)).events(0.2):
        assert picture_fault(event.stream, event.frame, sample(event.frame), DegradedConfig()) == ""


def test_no_real_frame_is_at_fault(shared_data):
    for folder in ("roadscene", "m3svd_stills"):
        for role, encoding in (("thermal", "mono8"), ("rgb", "bgr8")):
            for path in sorted((shared_data / folder / role).iterdir())[::10]:
                data = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE if role == "thermal" else cv2.IMREAD_COLOR)
                frame = Frame(1, data, encoding)
                assert picture_fault(role, frame, sample(frame), DegradedConfig()) == "", path.name
