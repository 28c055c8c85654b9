"""The pipeline with everything of a pair done by a device at once: the same pictures as step by step on the CPU.

The device is torch's CPU here, which runs the very operators; test_fuser and benchmarks/gpu.py have what needs CUDA.
"""

import gc
import time
import weakref
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
import yaml
from device_engines import put_on_device

from aenet_ros.config import build
from aenet_ros.core.camera import Camera, Stereo
from aenet_ros.core.errors import DeviceError, ImageError
from aenet_ros.core.frames import Frame
from aenet_ros.fusion.checkpoint import load_checkpoint
from aenet_ros.fusion.device_engine import DeviceEngine
from aenet_ros.pipeline import FusionPipeline
from aenet_ros.registration.calibration_file import stereo_content
from aenet_ros.workbench.simulation.geometry import rgb_to_thermal
from aenet_ros.workbench.simulation.rig_config import RigConfig
from aenet_ros.workbench.speed import rig_pairs

RIG = RigConfig(rgb_width=320, rgb_height=240, thermal_width=160, thermal_height=128, scene_s=0.2, column_celsius=0.5)
LEVELS = 1
"""Grey levels by which pictures may differ: sums that lie between two are rounded either way."""


@pytest.fixture(scope="module")
def pairs():
    """By day, by night and in smoke; noise, columns and parallax with them."""
    return rig_pairs(RIG, 18)[::2]


def on_cpu(**options):
    named = {name.replace("__", "."): value for name, value in options.items()}
    return FusionPipeline(build({"model.device": "cpu", "model.threads": 1, **named}))


def on_device(**options):
    pipeline = on_cpu(**options)
    put_on_device(pipeline.fuser)
    return pipeline


def assert_same(pairs, want_registered=False, **options):
    """Every picture within LEVELS of the CPU's, the rest of the result equal; returns the pictures. A scaled rgb frame is rounded twice."""
    device, cpu, pictures, levels = on_device(**options), on_cpu(**options), [], LEVELS + ("output__grid" in options)
    for pair in pairs:
        result, expected = (pipeline.process(pair, want_registered=want_registered) for pipeline in (device, cpu))
        assert result.image.shape == expected.image.shape
        difference = np.abs(result.image.astype(int) - expected.image)
        assert difference.max() <= levels
        assert (difference > 0).mean() < 0.03 * levels
        np.testing.assert_array_equal(result.thermal_registered, expected.thermal_registered)
        left_out = {"image": None, "thermal_registered": None, "timings_ns": {}, "thermal": None}
        assert replace(result, **left_out) == replace(expected, **left_out)
        assert list(result.timings_ns) == list(expected.timings_ns)
        pictures.append(result.image)
    assert device.overlaps
    return pictures


def stereo_file(folder):
    cameras = [
        Camera(np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]]), (height, width), distortion=lens)
        for (height, width), focal, lens in ((RIG.rgb_size, 170.0, (-0.1, 0.02, 0.0, 0.0)), (RIG.thermal_size, 82.0, (-0.2, 0.0, 0.0, 0.0)))
    ]
    path = folder / "stereo.yaml"
    path.write_text(yaml.safe_dump(stereo_content(Stereo(*cameras, np.eye(3), np.array([0.15, 0.0, 0.0])))))
    return str(path)


def homography(rig=RIG):
    return {"registration.mode": "homography", "registration.homography": tuple(rgb_to_thermal(rig).ravel())}


def test_scaled_edge_to_edge(pairs):
    pictures = assert_same(pairs, want_registered=True)
    assert all((picture != pair.rgb.data).mean() > 0.3 for picture, pair in zip(pictures, pairs, strict=True))


def test_by_a_homography_that_leaves_a_border(pairs):
    rig = replace(RIG, zoom=1.4, rotation_deg=7.0)
    pictures = assert_same(pairs, want_registered=True, **homography(rig))
    np.testing.assert_array_equal(pictures[0][0, 0], pairs[0].rgb.data[0, 0])  # the corner is beyond the thermal view


@pytest.mark.parametrize("distance", [0.8, 12.0])
def test_by_both_lenses_and_a_plane(pairs, tmp_path, distance):
    assert_same(pairs, registration__mode="plane", registration__file=stereo_file(tmp_path), registration__plane_distance_m=distance)


def test_by_a_depth_image_that_changes_with_every_pair(pairs, tmp_path):
    height, width = RIG.rgb_size
    steps = [np.where(np.arange(width) < 20 * number + 60, 1_000, 6_000).astype(np.uint16) for number in range(len(pairs))]
    joined = [
        replace(pair, depth=Frame(pair.rgb.stamp_ns, np.tile(step, (height, 1)), "mono16")) for pair, step in zip(pairs, steps, strict=True)
    ]
    joined[3] = replace(joined[3], depth=None)
    assert_same(joined, want_registered=True, registration__mode="depth", registration__file=stereo_file(tmp_path))


@pytest.mark.parametrize("wanted", ["rgb8", "bgr8", "mono8"])
@pytest.mark.parametrize("given", ["rgb8", "bgr8", "mono8"])
def test_each_output_encoding_from_each_input(pairs, given, wanted):
    rgb = pairs[0].rgb
    data = {"rgb8": rgb.data, "bgr8": rgb.data[..., ::-1], "mono8": cv2.cvtColor(rgb.data, cv2.COLOR_RGB2GRAY)}[given]
    assert_same([replace(pairs[0], rgb=replace(rgb, data=data, encoding=given))], output__encoding=wanted, **homography())


@pytest.mark.parametrize(
    "options",
    [
        {"output__thermal_weight": 0.4},
        {"agc__invert": True},
        {"agc__mode": "fixed", "agc__fixed_low": 29_000.0, "agc__fixed_high": 29_900.0},
        {"output__grid": "size", "output__width": 200},
        {"output__grid": "thermal"},
        {"output__grid": "thermal", "output__style": "side_by_side"},
        {"output__isotherm": True, "output__isotherm_low": 24.0, "output__isotherm_high": 60.0},
        {"latency__budget_ms": 0.001},
    ],
)
@pytest.mark.parametrize("geometry", [{}, homography()])
def test_with_other_options(pairs, options, geometry):
    assert_same(pairs[:6], **options, **geometry)


@pytest.mark.parametrize("grid", [{"output__grid": "thermal"}, {"output__grid": "size", "output__width": 100}, {}])
@pytest.mark.parametrize("geometry", [{}, homography()])
def test_both_frames_reach_the_device_as_they_came(pairs, grid, geometry):
    """Gain, scaling, warping and the smaller size of the network are its work."""
    device, cpu = on_device(**grid, **geometry), on_cpu(**grid, **geometry)
    for scale_step in (0, 2):
        device._resolution._step = cpu._resolution._step = scale_step
        for pair in pairs[::3]:
            result, expected = (pipeline.submit(pair, period_ns=33_000_000).result().image for pipeline in (device, cpu))
            job = device.fuser._engine.last_job
            assert job.scale == (1.0, 0.75, 0.5)[scale_step]
            assert job.thermal.counts is pair.thermal.data
            assert job.rgb is pair.rgb.data
            assert result.shape == expected.shape
            difference = np.abs(result.astype(int) - expected)
            assert difference.max() <= 2
            assert difference.mean() < 0.2


def test_thermal_frames_in_bytes_and_in_floats_that_are_not_all_numbers(pairs):
    celsius = pairs[0].thermal.data / np.float32(100.0) - np.float32(273.15)
    celsius[10:14, 20:30], celsius[50, 60], celsius[51, 60] = np.nan, np.inf, -np.inf
    swapped = pairs[1].thermal.data.astype(">u2")
    frames = [
        replace(pairs[0].thermal, data=celsius, encoding="32FC1"),
        replace(pairs[0].thermal, data=(pairs[0].thermal.data // 200).astype(np.uint8), encoding="mono8"),
        replace(pairs[1].thermal, data=swapped),
        replace(pairs[1].thermal, data=np.repeat(pairs[1].thermal.data, 2, axis=1)[:, ::2]),  # rows with padding
    ]
    for frame in frames:
        assert_same([replace(pairs[0], thermal=frame)], **homography())


def test_thermal_frames_larger_than_the_picture(pairs):
    large = cv2.resize(pairs[0].thermal.data, (500, 400), interpolation=cv2.INTER_NEAREST)
    tall = cv2.resize(pairs[0].thermal.data, (160, 400), interpolation=cv2.INTER_NEAREST)
    for data in (large, tall):
        assert_same([replace(pairs[0], thermal=replace(pairs[0].thermal, data=data))])


def test_columns_and_dead_pixels_found_on_the_way():
    """They turn up in mid-stream."""
    rig = RigConfig(
        thermal_width=320, thermal_height=256, rgb_width=160, rgb_height=120, thermal_hz=4.0, rgb_hz=4.0, scene_s=30.0, scenes="day",
        dead_pixels=90, column_celsius=0.8,
    )  # fmt: skip
    device, cpu, found = on_device(**homography(rig)), on_cpu(**homography(rig)), set()
    for pair in rig_pairs(rig, 40):
        for _ in range(8):  # one in eight is looked at
            result, expected = (pipeline.process(pair).image for pipeline in (device, cpu))
        assert np.abs(result.astype(int) - expected).max() <= LEVELS
        found.add(device.status().sensor.dead_pixels)
    assert min(found) == 0
    assert max(found) > 64
    assert device.status().sensor.column_counts > 0
    assert device.status().sensor == cpu.status().sensor


def test_the_next_pair_may_be_started_before_the_last_one_is_finished(pairs):
    one_by_one = on_device(**homography())
    expected = [one_by_one.submit(pair).result().image for pair in pairs]
    pipeline, finish, pictures = on_device(**homography()), None, []
    for pair in pairs:
        begun = pipeline.submit(pair)
        if finish is not None:
            pictures.append(finish.result().image)
        finish = begun
    pictures.append(finish.result().image)
    np.testing.assert_array_equal(pictures, expected)


def test_a_device_lost_while_two_pairs_are_under_way_costs_neither(pairs):
    expected = [fused.image for fused in map(on_cpu(**homography()).process, pairs[:4])]
    pipeline = on_device(**homography())
    pictures = [pipeline.process(pairs[0]).image]
    pipeline.fuser._engine.lasts = 0
    finish = [pipeline.submit(pair) for pair in pairs[1:3]]
    pictures += [one.result().image for one in finish]
    assert not pipeline.overlaps
    assert pipeline.fuser.fallback == (
        "on cpu instead of device: device failed (CUDA error: unspecified launch failure); restart the process, or set model.device to cpu"
    )
    pictures.append(pipeline.process(pairs[3]).image)
    for picture, wanted in zip(pictures, expected, strict=True):
        assert np.abs(picture.astype(int) - wanted).max() <= LEVELS


def test_memory_of_a_lost_device_is_never_freed(pairs):
    """To free it would end the process: what the engine holds, and a picture that a caller holds until later."""
    pipeline = on_device(**homography())
    held = pipeline.process(pairs[0]).image
    freed = pipeline.process(pairs[1]).image
    memory = [weakref.ref(item) for item in (pipeline.fuser._engine, held, freed)]
    del freed
    pipeline.fuser._engine.lasts = 0
    pipeline.submit(pairs[2]).result()
    assert not pipeline.overlaps
    pipeline.close()
    del held, pipeline
    gc.collect()
    assert [reference() is not None for reference in memory] == [True, True, False]


def test_a_device_that_fails_at_once_costs_no_pair_either(pairs):
    pipeline = on_device(**homography())
    pipeline.fuser._engine = DeviceEngine(load_checkpoint()[0], torch.device("meta"), "fp32")
    picture = pipeline.process(pairs[0]).image
    assert np.abs(picture.astype(int) - on_cpu(**homography()).process(pairs[0]).image).max() <= LEVELS
    assert not pipeline.overlaps


def test_where_the_cpu_is_refused_a_lost_device_is_an_error_for_every_pair(pairs):
    pipeline = on_device(model__allow_cpu=False)
    pipeline.fuser._engine.lasts = 0
    finish = [pipeline.submit(pair) for pair in pairs[:2]]
    for one in finish:
        with pytest.raises(DeviceError, match="unspecified launch failure"):
            one.result()
    assert pipeline.overlaps


def test_live_pairs_use_the_plan_that_the_warm_up_made(pairs):
    """On CUDA another plan would be captured in the middle of a drive; so too when bad pixels are found."""
    pipeline = on_device(**homography())
    pipeline.warm_up(RIG.rgb_size, RIG.thermal_size)
    plans = list(pipeline.fuser._engine._plans.values())
    assert [plan.captured for plan in plans] == [True]
    for pair in pairs:
        pipeline.process(pair)
    assert list(pipeline.fuser._engine._plans.values()) == plans
    assert pipeline.fuser._engine.graphs.captures == 1


def test_the_first_pair_of_other_sizes_and_encodings_captures_its_graph(pairs):
    """The warm-up before the cameras are known is for sizes of its own."""
    pipeline = on_device(**homography())
    pipeline.warm_up((480, 640))
    graphs, bgr = pipeline.fuser._engine.graphs, [replace(pair, rgb=replace(pair.rgb, encoding="bgr8")) for pair in pairs]
    assert graphs.captures == 1
    pipeline.process(bgr[0])
    assert graphs.captures == 2
    for pair in bgr:
        pipeline.process(pair)
    assert graphs.captures == 2
    assert pipeline.fuser.fallback == ""


def test_the_time_of_another_pair_is_not_billed_to_this_one(pairs):
    """What happens between submit and result is the next pair's time."""
    pipeline = on_device(**homography(), latency__budget_ms=10_000.0)
    pipeline.process(pairs[0])
    pending = pipeline.submit(pairs[1])
    time.sleep(0.5)
    timings = pending.result().timings_ns
    assert sum(value for stage, value in timings.items() if stage != "total") == timings["total"] < 450e6


def test_bad_frames_are_errors_and_the_next_pair_is_fused(pairs):
    pipeline = on_device()
    tiny = replace(pairs[0], rgb=replace(pairs[0].rgb, data=pairs[0].rgb.data[:8]))
    colour = replace(pairs[0], thermal=Frame(0, pairs[0].rgb.data, "rgb8"))
    for bad, message in ((tiny, "too small"), (colour, "has no counts")):
        with pytest.raises(ImageError, match=message):
            pipeline.submit(bad)
    assert (pipeline.process(pairs[0]).image != pairs[0].rgb.data).mean() > 0.3
    assert pipeline.overlaps


def test_pictures_are_the_caller_s_own(pairs):
    pipeline = on_device()
    first = pipeline.process(pairs[0]).image
    kept = first.copy()
    pipeline.process(pairs[4])
    np.testing.assert_array_equal(first, kept)
