"""What a captured CUDA graph needs of the steps of a pair, checked without CUDA; see recorded_graphs."""

import cv2
import numpy as np
import pytest
import torch
from device_engines import recorded_engine
from recorded_graphs import RecordedGraphs
from test_device_engine import CPU, bad_pixels, corners, network, pair, request  # noqa: F401

from aenet_ros.core.frames import RgbPlacement, resize_method
from aenet_ros.fusion.checkpoint import load_checkpoint
from aenet_ros.fusion.cpu_network import CpuNetwork
from aenet_ros.fusion.device_engine import PLANS_KEPT, DeviceEngine
from aenet_ros.fusion.engine import CpuEngine, fuse_downscaled, render
from aenet_ros.fusion.graph_plan import CAPTURE_AFTER
from aenet_ros.fusion.resampling import make_resampling, resample

SIZE = (48, 64)
WEIGHT = np.linspace(0.0, 1.0, SIZE[0] * SIZE[1], dtype=np.float32).reshape(SIZE)
KINDS = {
    "scaled rgb": {"placement": RgbPlacement(SIZE), "rgb_size": (73, 96), "counts": np.uint16},
    "enlarged grey rgb": {"placement": RgbPlacement(SIZE), "rgb_size": (31, 40), "grey": True},
    "warped rgb": {"placement": RgbPlacement((60, 80), 1.1 * corners(), WEIGHT), "rgb_size": (60, 80), "counts": np.uint16},
    "scaled and warped grey rgb": {"placement": RgbPlacement((60, 80), 1.1 * corners(), WEIGHT), "rgb_size": (120, 160), "grey": True},
    "half size": {"scale": 0.5, "counts": np.uint16},
    "a quarter": {"scale": 0.25, "counts": np.uint16},
    "three quarters with a weight": {"scale": 0.75, "weight": WEIGHT},
    "half size, scaled rgb": {"scale": 0.5, "placement": RgbPlacement(SIZE), "rgb_size": (73, 96), "weight": WEIGHT},
    "thermal by means": {"size": SIZE, "thermal_size": (101, 131), "counts": np.uint16},
    "float": {},
    "uint16": {"counts": np.uint16},
    "uint8": {"counts": np.uint8},
    "grey": {"grey": True},
    "bgr to rgb": {"order": "bgr", "output_order": "rgb"},
    "weight": {"weight": WEIGHT},
    "warped": {"sampling": corners(), "counts": np.uint16},
    "warped with a weight": {"sampling": corners(), "weight": WEIGHT, "counts": np.uint16},
}


def jobs(kind, count):
    """Pairs of one kind whose values all differ: pixels, gain, columns, bad pixels, strength, maps."""
    options = dict(KINDS[kind])
    dtype, grey = options.pop("counts", np.float32), options.pop("grey", False)
    thermal_size, rgb_size = options.pop("thermal_size", SIZE), options.pop("rgb_size", SIZE)
    placement, scale = options.pop("placement", None), options.pop("scale", 1.0)
    made = []
    for number in range(count):
        thermal, rgb = pair(thermal_size, number)[0], pair(rgb_size, number)[1]
        if dtype != np.float32:
            thermal = (thermal * (250 if dtype == np.uint8 else 60_000)).astype(dtype)
        elif number % 2:
            thermal[3, number], thermal[4, 5] = np.nan, np.inf
        full = {np.uint8: 250.0, np.uint16: 60_000.0, np.float32: 1.0}[dtype]
        changing = {
            "black": 0.05 * number * full,
            "factor": 1.0 / full,
            "knee": 0.5,
            "slope": 1.0 + number,
            "columns": np.linspace(0, 0.02 * number * full, thermal_size[1], dtype=np.float32),
            "bad_pixels": bad_pixels(*range(100, 100 + 2 * number, 2)) if number else None,
            "thermal_weight": 1.0 - 0.1 * number,
        }
        if "sampling" in options:
            changing["sampling"] = corners(shift=0.25 * number)
        if "weight" in options:
            changing["weight"] = np.roll(WEIGHT, 10 * number, axis=0)
        if placement is not None and placement.sampling is not None:
            placement = RgbPlacement(placement.size, placement.sampling - np.float32(0.25), np.roll(WEIGHT, 7 * number, axis=1))
        job = request(thermal, rgb[..., 0].copy() if grey else rgb, **{**options, **changing})
        made.append(job._replace(placement=placement, scale=scale))
    return made


@torch.inference_mode()
@pytest.mark.parametrize("kind", KINDS)
def test_replayed_pairs_are_those_step_by_step(network, kind):  # noqa: F811
    """Whatever the host puts into a step as a number or a new tensor would stay that of the first pair."""
    engine, graphs = recorded_engine(network)
    first, *live = jobs(kind, 4)
    engine.submit(first).result()
    plan = engine.plan(first)
    where = plan.replay().data_ptr()
    for job in live:
        alone = DeviceEngine(network, CPU, "fp32").submit(job).result()
        np.testing.assert_array_equal(engine.submit(job).result(), alone)
        assert engine.plan(job) is plan
        assert plan.replay().data_ptr() == where
    assert engine.problem == ""
    assert plan.captured
    assert graphs.captures == 1


@torch.inference_mode()
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_steps_run_on_a_device_that_has_no_values(network, kind, precision):  # noqa: F811
    """On torch's meta device a value that is asked for, or a tensor of the CPU among the others, is an error."""
    engine = DeviceEngine(network, torch.device("meta"), precision)
    (job,) = jobs(kind, 1)
    fused = engine.plan(job).replay()
    assert (fused.device.type, fused.dtype, tuple(fused.shape)) == ("meta", torch.uint8, (*job.picture_size, *job.rgb.shape[2:]))


@torch.inference_mode()
@pytest.mark.parametrize("kind", KINDS)
def test_the_device_and_the_cpu_make_the_same_picture(kind):
    shipped = load_checkpoint()[0]
    device, cpu = DeviceEngine(shipped, CPU, "fp32"), CpuEngine(CpuNetwork(shipped))
    for job in jobs(kind, 2):
        smooth = job._replace(rgb=cv2.blur(job.rgb, (9, 9)))  # noise that is scaled down is no picture
        expected = fuse_downscaled(cpu.submit, render(smooth)).result().astype(int)
        difference = np.abs(device.submit(smooth).result() - expected)
        assert difference.max() <= 2
        assert difference.mean() < 0.2


def test_the_weights_of_a_resampling_are_those_of_opencv():
    """At sizes that do not divide each other, both ways."""
    image = np.random.default_rng(0).random((77, 101, 3), np.float32)
    for size in ((50, 66), (38, 50), (77, 60), (200, 130), (19, 25), (33, 200)):
        method = resize_method(image.shape, size)
        to = make_resampling(image.shape[:2], [(size, method)], CPU)
        expected = cv2.resize(image, size[::-1], interpolation=method)
        np.testing.assert_allclose(resample(torch.from_numpy(image), to).numpy(), expected, atol=1e-5)
        np.testing.assert_allclose(resample(torch.from_numpy(image[..., 0].copy()), to).numpy(), expected[..., 0], atol=1e-5)


STEPS = {
    "a value is read": lambda x: x * x.sum().item(),
    "a mask as an index": lambda x: x[x > 0.5],
    "a mask that is written to": lambda x: x.clone().index_put_((x > 0.5,), torch.zeros_like(x).sum()),
    "places of non-zero values": lambda x: x.nonzero(),
    "a tensor made of Python numbers": lambda x: x + torch.tensor([1.0, 2.0, 3.0]),
    "a tensor of before": lambda x: x + OUTSIDE,
    "a copy to another device": lambda x: x.to("meta"),
}
OUTSIDE = torch.ones(3)


@torch.inference_mode()
@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS)
def test_steps_that_cuda_could_not_capture_are_found(steps):
    x = torch.tensor([0.25, 0.5, 0.75])
    graphs = RecordedGraphs(lambda: [x])
    with pytest.raises(RuntimeError, match=r"host|another device"):
        graphs.capture(lambda: steps(x))
    graph, doubled = graphs.capture(lambda: x.mul(2.0).add_(1.0))
    x += 1.0
    graph.replay()
    assert doubled.tolist() == [3.5, 4.0, 4.5]


def test_a_branch_on_a_value_is_found_without_values():
    """torch's CPU answers it without an operator that could be recorded."""
    x = torch.empty(3, device="meta")
    with pytest.raises(RuntimeError, match="meta"):
        bool(x.sum() > 0)


@torch.inference_mode()
def test_the_first_sizes_are_captured_with_their_first_pair_and_sizes_that_change_all_the_time_are_not(network):  # noqa: F811
    engine, graphs = recorded_engine(network)
    for number in range(PLANS_KEPT):
        for _ in range(2):
            engine.submit(request(*pair((32 + 16 * number, 48)))).result()
        assert graphs.captures == number + 1
    for _ in range(CAPTURE_AFTER + 1):
        for number in range(PLANS_KEPT + 1):
            engine.submit(request(*pair((32 + 16 * number, 64)))).result()
    assert graphs.captures == PLANS_KEPT
    for _ in range(CAPTURE_AFTER + 1):  # a size that stays
        engine.submit(request(*pair((32, 48)))).result()
    assert graphs.captures == PLANS_KEPT + 1


@torch.inference_mode()
def test_steps_that_cannot_be_captured_cost_no_pair(network):  # noqa: F811
    engine, graphs = recorded_engine(network)
    graphs.memory = tuple  # even the plan's own memory is refused
    job = jobs("uint16", 1)[0]
    alone = DeviceEngine(network, CPU, "fp32").submit(job).result()
    for _ in range(3):
        np.testing.assert_array_equal(engine.submit(job).result(), alone)
    assert "cannot be captured" in engine.problem
    assert graphs.captures == 0
