"""How much brighter and darker the same wall gets from frame to frame, with and without the range's smoothing: in grey levels of 255."""

import numpy as np
import pytest
from configured import Agc

from aenet_ros.config import AgcConfig
from aenet_ros.core.frames import Frame
from aenet_ros.workbench.simulation.rig import Rig
from aenet_ros.workbench.simulation.rig_config import RigConfig

PER_FRAME = AgcConfig(smoothing_s=0.0)  # as drivers do it: each frame's own percentiles


@pytest.fixture(scope="module")
def frames():
    """Nine seconds of a night street seen by a camera that stands still; people walk, and the shutter closes at 5 s."""
    rig = Rig(RigConfig(thermal_width=320, thermal_height=256, scenes="night", scene_s=60.0, motion=0.0, rgb_hz=0.1, shutter_period_s=5.0))
    return [event.frame for event in rig.events(9.0, 10**18) if event.stream == "thermal"]


def steps(frames, config, torch_s=(0.0, 0.0)):
    """Changes from frame to frame of the upper wall's median; a torch of 300 degC over 2 % of the picture comes and goes meanwhile."""
    agc, levels = Agc(config), []
    for frame in frames:
        data = frame.data.copy()
        if torch_s[0] <= (frame.stamp_ns - 10**18) / 1e9 < torch_s[1]:
            data[100:141, 150:191] = 57_315
        plane = agc.apply(Frame(frame.stamp_ns, data, "mono16"))
        levels.append(255 * float(np.median(plane[:75])))
    return np.abs(np.diff(levels))


def test_a_wall_flickers_less_than_a_third_as_much(frames, record_property):
    before, after = steps(frames, PER_FRAME), steps(frames, AgcConfig())
    record_property("flicker, mean grey levels a frame", f"{before.mean():.2f} per frame, {after.mean():.2f} smoothed")
    assert after.mean() < before.mean() / 3
    assert after.max() < 1.0


def test_something_hot_does_not_jerk_the_picture(frames, record_property):
    before, after = steps(frames, PER_FRAME, (3.0, 6.0)), steps(frames, AgcConfig(), (3.0, 6.0))
    record_property("largest step, grey levels", f"{before.max():.1f} per frame, {after.max():.1f} smoothed")
    assert before.max() > 30
    assert after.max() < 8
