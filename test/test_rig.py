"""The synthetic rig against its own truth: each claim is checked in the pixels, or against numbers worked out by hand."""

import itertools

import cv2
import numpy as np
import pytest

from aenet_ros.core.errors import ConfigError
from aenet_ros.workbench.simulation.rig import Rig
from aenet_ros.workbench.simulation.rig_config import RigConfig

SECOND = 1_000_000_000
STILL = {"motion": 0.0, "walking": False, "parallax_px": 0.0}
NOISELESS = {"noise_celsius": 0.0, "column_celsius": 0.0, "rgb_noise": 0.0}


def shots(seconds, **settings):
    return list(Rig(RigConfig(**settings)).schedule(seconds=seconds))


def first_event(rig, stream, at_s=0.0):
    return next(event for event in rig.events(at_s + 1.0) if event.stream == stream and event.shot.at_ns >= at_s * SECOND)


def to_celsius(counts):
    return counts.astype(np.float64) * 0.01 - 273.15


def test_frames_are_what_cameras_send():
    rig = Rig(RigConfig(thermal_width=320, thermal_height=256, rgb_width=800, rgb_height=600))
    thermal, rgb = itertools.islice(rig.events(), 2)
    assert (thermal.stream, thermal.frame.encoding, thermal.frame.data.dtype, thermal.frame.size) == (
        "thermal",
        "mono16",
        np.uint16,
        (256, 320),
    )
    assert (rgb.stream, rgb.frame.encoding, rgb.frame.data.dtype) == ("rgb", "rgb8", np.uint8)
    assert rgb.frame.data.shape == (600, 800, 3)


def test_the_same_seed_gives_the_same_bytes_in_any_order():
    settings = {"jitter_ms": 3.0, "thermal_drop": 0.2, "dead_pixels": 20}
    first, again, other = (Rig(RigConfig(seed=seed, **settings)) for seed in (7, 7, 8))
    taken = list(first.events(0.4, start_ns=5 * SECOND))
    assert len(taken) > 15
    for event, shot in reversed(list(zip(taken, again.schedule(5 * SECOND, 0.4), strict=True))):
        assert event.shot == shot
        assert np.array_equal(event.frame.data, again.render(shot))
    assert not np.array_equal(first_event(first, "rgb").frame.data, first_event(other, "rgb").frame.data)


def test_rendering_into_a_buffer_gives_the_same_picture():
    for lens in (0.0, -0.1):
        rig = Rig(RigConfig(lens_k1=lens))
        for shot in itertools.islice(rig.schedule(), 2):
            fresh = rig.render(shot)
            buffer = np.full_like(fresh, 99)
            assert rig.render(shot, buffer) is buffer
            assert np.array_equal(fresh, buffer)


def test_rates_offset_and_phase_are_in_the_stamps():
    taken = shots(2.0, thermal_hz=9.0, rgb_hz=30.0, offset_ms=-137.0, phase_ms=4.0)
    thermal = [shot for shot in taken if shot.stream == "thermal"]
    rgb = [shot for shot in taken if shot.stream == "rgb"]
    assert (len(thermal), len(rgb)) == (18, 60)
    assert [shot.stamp_ns for shot in rgb[:3]] == [0, 33_333_333, 66_666_667]
    assert [shot.stamp_ns for shot in thermal[:2]] == [4_000_000 - 137_000_000, 4_000_000 - 137_000_000 + 111_111_111]
    assert [shot.at_ns for shot in taken] == sorted(shot.at_ns for shot in taken)


def test_jitter_is_as_large_as_asked_and_bounded():
    errors = np.array([shot.jitter_ns for shot in shots(40.0, jitter_ms=4.0)])
    assert np.abs(errors).max() <= 12_000_000
    assert 3.6e6 < errors.std() < 4.2e6
    assert abs(errors.mean()) < 0.4e6


def test_lost_frames_are_missing_and_counted():
    rig = Rig(RigConfig(thermal_drop=0.3, rgb_drop=0.05))
    taken = list(rig.schedule(seconds=100.0))
    for stream, share in (("thermal", 0.3), ("rgb", 0.05)):
        indices = {shot.index for shot in taken if shot.stream == stream}
        assert len(indices) + rig.dropped[stream] == 3000
        assert rig.dropped[stream] == pytest.approx(3000 * share, rel=0.2)


def test_the_shutter_freezes_the_thermal_picture_and_renews_its_pattern():
    rig = Rig(RigConfig(shutter_period_s=0.5, shutter_s=0.2, noise_celsius=0.05))
    frames = [(event.shot, event.frame.data) for event in rig.events(1.0) if event.stream == "thermal"]
    closed = [shot.index for shot, _ in frames if shot.shutter]
    assert closed == [15, 16, 17, 18, 19, 20]  # from 0.5 s to 0.7 s at 30 Hz
    assert all(np.array_equal(frames[index][1], frames[14][1]) for index in closed)
    assert not np.array_equal(frames[21][1], frames[20][1])
    assert not any(event.shot.shutter for event in rig.events(1.0) if event.stream == "rgb")


def test_a_shutter_event_changes_the_column_pattern():
    rig = Rig(RigConfig(shutter_period_s=0.5, shutter_s=0.1, noise_celsius=0.0, column_celsius=0.5, **STILL))
    before, after = (first_event(rig, "thermal", at).frame.data.astype(int) for at in (0.2, 0.8))
    same, moved = first_event(rig, "thermal", 0.3).frame.data.astype(int) - before, after - before
    assert np.abs(same).max() == 0
    assert moved.mean(axis=0).std() > 40  # sqrt(2) * 50 counts


def test_noise_and_dead_pixels_are_as_asked():
    rig = Rig(RigConfig(noise_celsius=0.2, column_celsius=0.0, dead_pixels=30, **STILL))
    shot = next(rig.schedule())
    counts = rig.render(shot)
    assert (np.sum(counts == 0), np.sum(counts == 65535)) == (15, 15)
    alive = (counts > 0) & (counts < 65535)
    error = to_celsius(counts)[alive] - rig.celsius(0)[alive]
    assert error.std() == pytest.approx(0.2, rel=0.05)
    assert abs(error.mean()) < 0.01


def test_temperatures_make_sense():
    day, night = (Rig(RigConfig(scenes=scene, **NOISELESS)).celsius(0) for scene in ("day", "night"))
    assert 33.0 < np.percentile(day, 99.95) < 40.0  # faces, and a car that just arrived
    assert 15.0 < np.median(day) < 25.0
    assert np.median(night) < np.median(day) - 5


@pytest.mark.parametrize(
    "settings", [{}, {"zoom": 1.1, "rotation_deg": -3.0, "shift_x": -12.0, "keystone": 8e-5, "rgb_width": 800, "rgb_height": 640}]
)
def test_the_homography_lays_thermal_onto_rgb(settings):
    """Edges of both pictures agree best under the true map: any shift by 3 pixels makes it worse."""
    rig = Rig(RigConfig(scenes="day", parallax_px=0.0, **NOISELESS, **settings))
    thermal, rgb = (first_event(rig, stream).frame.data for stream in ("thermal", "rgb"))
    height, width = rgb.shape[:2]
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32)

    def agreement(dx, dy):
        moved = rig.homography @ np.array([[1, 0, dx], [0, 1, dy], [0, 0, 1.0]])
        warped = cv2.warpPerspective(thermal.astype(np.float32), moved, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        inner = (slice(60, height - 60), slice(60, width - 60))
        return np.corrcoef(edges(warped)[inner].ravel(), edges(grey)[inner].ravel())[0, 1]

    best = agreement(0, 0)
    assert best > 0.3
    for dx, dy in itertools.product((-3, 0, 3), repeat=2):
        assert (dx, dy) == (0, 0) or agreement(dx, dy) < best - 0.02, (dx, dy)


def edges(picture):
    smooth = cv2.GaussianBlur(picture, (0, 0), 1.0)
    return np.sqrt(np.hypot(cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)))


def test_bodies_are_where_the_truth_says():
    """The person in the red jacket: red in the rgb picture, warm at the mapped places in the thermal one."""
    rig = Rig(RigConfig(scenes="day", parallax_px=0.0, **NOISELESS))
    thermal, rgb = (first_event(rig, stream) for stream in ("thermal", "rgb"))
    body = rgb.bodies[3]
    left, top, right, bottom = (round(value) for value in body.rgb_box)
    crop = rgb.frame.data[max(top, 0) : bottom, max(left, 0) : right].astype(int)
    rows, columns = np.nonzero((crop[..., 0] > 70) & (crop[..., 1] < 0.45 * crop[..., 0]) & (crop[..., 2] < 0.6 * crop[..., 0]))
    assert len(rows) > 300
    points = np.column_stack([columns + max(left, 0), rows + max(top, 0)]).astype(float)
    assert np.hypot(*(points.mean(0) - body.rgb_xy)) < 0.25 * (bottom - top)  # the jacket is above the middle
    mapped = np.round(rig.rgb_to_thermal(points)).astype(int)
    warm = to_celsius(thermal.frame.data)[mapped[:, 1], mapped[:, 0]]
    assert np.mean((warm > 23.5) & (warm < 29)) > 0.9  # people are drawn at whole pixels: half a pixel off at most
    x0, y0, x1, y1 = body.thermal_box
    assert np.all((mapped > (x0, y0)) & (mapped < (x1, y1)))


def test_parallax_moves_near_bodies_in_the_thermal_picture_only():
    flat, deep = (Rig(RigConfig(parallax_px=shift, zoom=1.0, rotation_deg=0.0)).bodies(0) for shift in (0.0, 10.0))
    shifts = [there.thermal_xy[0] - here.thermal_xy[0] for here, there in zip(flat, deep, strict=True)]
    assert [here.rgb_xy for here in flat] == [there.rgb_xy for there in deep]
    feet = [body.rgb_box[3] for body in flat]
    assert [shifts[index] for index in np.argsort(feet)] == sorted(shifts)
    assert 9.0 < max(shifts) <= 10.0


def test_the_lens_bends_by_its_formula():
    rig = Rig(RigConfig(zoom=1.0, rotation_deg=0.0, shift_x=0.0, shift_y=0.0, lens_k1=-0.1, **STILL, **NOISELESS))
    # r = 1 is half the width, 320 px: at the edge of the row through the middle a point moves by 0.1 * 320 px inwards.
    middle = (255.5,)
    bent = rig.rgb_to_thermal(np.array([(319.5, *middle), (639.5, *middle), (479.5, *middle)]))
    assert bent == pytest.approx(np.array([(319.5, *middle), (607.5, *middle), (319.5 + 160 * (1 - 0.1 * 0.25), *middle)]))
    straight = Rig(RigConfig(zoom=1.0, rotation_deg=0.0, shift_x=0.0, shift_y=0.0, **STILL, **NOISELESS)).celsius(0)
    lensed = rig.celsius(0)
    for x, y in ((360, 420), (479, 300), (150, 200)):
        there = np.round(rig.rgb_to_thermal(np.array([(float(x), float(y))]))[0]).astype(int)
        patch = straight[y - 1 : y + 2, x - 1 : x + 2]
        assert patch.min() - 0.3 <= lensed[there[1], there[0]] <= patch.max() + 0.3


def test_night_is_dark_and_smoke_veils_the_rgb_camera_alone():
    pictures = {}
    for scene in ("day", "night", "smoke"):
        rig = Rig(RigConfig(scenes=scene, scene_s=100.0, **NOISELESS))
        pictures[scene] = first_event(rig, "rgb", 3.0).frame.data, rig.celsius(3 * SECOND)
    assert pictures["night"][0].mean() < 0.3 * pictures["day"][0].mean()
    road = (slice(150, 350), slice(200, 500))
    contrast = {scene: edges(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY))[road].mean() for scene, (rgb, _) in pictures.items()}
    assert contrast["smoke"] < 0.7 * contrast["day"]
    heat = {scene: edges(celsius)[road].mean() for scene, (_, celsius) in pictures.items()}
    assert heat["smoke"] == pytest.approx(heat["day"], rel=0.15)


def test_scenes_take_turns():
    taken = shots(6.5, scenes="night, smoke", scene_s=2.0, thermal_hz=1.0, rgb_hz=1.0)
    assert [shot.scene for shot in taken if shot.stream == "rgb"] == ["night", "night", "smoke", "smoke", "night", "night", "smoke"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"scenes": "day,fog"}, "day,fog"),
        ({"scenes": " , "}, "scenes"),
        ({"thermal_hz": 0.0}, "thermal_hz: 0.0 is out of range"),
        ({"seed": 1.5}, "seed: 1.5 is a float"),
        ({"shutter_period_s": 1.0, "shutter_s": 2.0}, "shutter_s (2) must be less than shutter_period_s (1)"),
    ],
)
def test_impossible_settings_are_refused_in_words(settings, words):
    with pytest.raises(ConfigError, match=r".") as refused:
        RigConfig(**settings)
    assert words in str(refused.value)
