"""Hot spots on the simulated cameras, which know the temperature of each pixel and where each person is."""

import math

import cv2
import numpy as np
import pytest

from aenet_ros.config import HotSpotConfig, build
from aenet_ros.core.frames import Frame, ThermalInput, ThermalSource
from aenet_ros.thermal.ffc import FfcHold
from aenet_ros.thermal.hot_spots import HotSpotTracker, find_hot_spots
from aenet_ros.thermal.temperature import temperature
from aenet_ros.thermal.thermometer import Thermometer
from aenet_ros.workbench.simulation.rig import Rig
from aenet_ros.workbench.simulation.rig_config import RigConfig

PERSON = HotSpotConfig(level=31.0, relative=False, hysteresis=9.5)  # a face is above the level, and clothes are within the hysteresis


@pytest.fixture(scope="module")
def night():
    """Ten seconds: the instant's temperatures, bodies and spots with ids, of each frame that is no repeated one."""
    config = RigConfig(
        scenes="night", scene_s=100.0, shutter_period_s=4.0, thermal_hz=15.0, rgb_width=32, rgb_height=32, column_celsius=0.0
    )
    rig, hold, tracker, last, frames = Rig(config), FfcHold(), HotSpotTracker(), None, []
    for shot in rig.schedule(seconds=14.0):
        if shot.stream == "thermal":
            used = hold.apply(Frame(shot.stamp_ns, rig.render(shot), "mono16"), build({}).shutter, False)
            if used.data is not last and not shot.shutter:
                spots = tracker.update(find_hot_spots(temperature(used, "centikelvin"), PERSON), shot.stamp_ns)
                frames.append((rig.celsius(shot.shows_ns), rig.bodies(shot.shows_ns), spots))
            last = used.data
    return frames


def test_temperature_and_place_are_those_of_the_scene(night):
    compared = 0
    for celsius, _, spots in night[::10]:
        true_spots = find_hot_spots(celsius, PERSON)
        smooth = cv2.blur(celsius, (3, 3), borderType=cv2.BORDER_REPLICATE)
        for spot in spots:
            same = [other for other in true_spots if np.abs(np.subtract(other.box, spot.box)).max() <= 2]
            if same:
                compared += 1
                assert spot.peak_value == pytest.approx(same[0].peak_value, abs=0.2)
                near = math.hypot(spot.peak[0] - same[0].peak[0], spot.peak[1] - same[0].peak[1]) <= 1.0
                assert near or smooth[spot.peak[::-1]] == pytest.approx(same[0].peak_value, abs=0.2)  # a flat maximum has many places
    assert compared > 50


def box_distance(first, second):
    """Pixels between two boxes (left, top, right, bottom), along the axis on which they are further apart; negative: they overlap."""
    return max(first[0] - second[2], second[0] - first[2], first[1] - second[3], second[1] - first[3])


def test_people_keep_their_ids_through_crossings_and_shutter_events(night):
    ids: dict[str, int] = {}
    met, crossings = set(), 0
    for celsius, bodies, spots in night:
        for body in bodies:
            left, _, right, _ = body.thermal_box
            if left < 8 or right > celsius.shape[1] - 8:  # leaves the picture: it may come back as another one
                ids.pop(body.name, None)
            elif any(box_distance(body.thermal_box, other.thermal_box) <= 0 for other in bodies if other is not body):
                met.add(body.name)
            else:
                x, y = body.thermal_xy
                here = [s for s in spots if abs(s.box[0] + s.box[2] / 2 - x) < 30 and s.box[1] < y < s.box[1] + s.box[3]]
                found = max(here, key=lambda spot: spot.area).id
                assert ids.setdefault(body.name, found) == found, body
                crossings += body.name in met
                met.discard(body.name)
    assert crossings >= 8


def test_ten_minutes_of_noise_give_no_alarm_and_a_rise_gives_one_within_half_a_second():
    config = build({"agc.profile": "centikelvin", "alarms.regions": "boiler 4,4 20,16 pre=55 high=60 low=50 rise=5"})
    rng, thermometer, period_ns = np.random.default_rng(3), Thermometer(), 111_111_111

    def measure(index, celsius):
        counts = np.rint((celsius + rng.normal(0.0, 0.06, (24, 32)) + 273.15) * 100).astype(np.uint16)
        frame = Frame(index * period_ns, counts, "mono16")
        return thermometer.measure(ThermalSource(frame, ThermalInput(counts), (0, 0)), config, spots=False).regions[0].state

    assert {measure(index, 54.7).level for index in range(5400)} == {0}
    states = [measure(5400 + index, 60.2) for index in range(6)]
    first = next(index for index, state in enumerate(states) if state.level == 2)
    assert first * period_ns <= 500_000_000
    assert "boiler has 60." in states[first].reason
