"""The engine of whole frames on one device: what it keeps, and when it would capture. On the CPU; test_fuser has what needs CUDA."""

import gc
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from aenet_ros.core.frames import BadPixelMap, ThermalInput, render_brightness
from aenet_ros.fusion.device_engine import PLANS_KEPT, DeviceEngine
from aenet_ros.fusion.engine import FusionJob
from aenet_ros.fusion.graph_plan import BAD_PIXELS, ThermalTensors, brightness
from aenet_ros.fusion.network import AENet

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def network():
    torch.set_num_threads(1)
    torch.manual_seed(5)
    network = AENet().eval().requires_grad_(False)
    for parameter in network.parameters():  # away from where training starts, so that everything shows
        parameter.add_(0.1 * torch.randn_like(parameter))
    return network


@pytest.fixture
def engine(network):
    return DeviceEngine(network, CPU, "fp32")


def pair(size=(48, 64), seed=0):
    random = np.random.default_rng(seed)
    return random.random(size, np.float32), random.integers(0, 256, (*size, 3)).astype(np.uint8)


def request(thermal, rgb, order="rgb", thermal_weight=1.0, output_order="", **view):
    return FusionJob(ThermalInput(thermal, **view), rgb, order, thermal_weight, output_order or order)


@torch.inference_mode()
def fuse(engine, *images, **options):
    return engine.submit(request(*images, **options)).result()


def corners(size=(48, 64), shift=0.25):
    """Where pixels are taken from: from their own place, moved a little; also from beyond the left and upper edge."""
    rows, columns = np.mgrid[0 : size[0], 0 : size[1]]
    return (np.stack([columns, rows], axis=-1) - shift).astype(np.float32)


def bad_pixels(*pixels, width=64):
    """Pixels inside the picture, each written over by the mean of the two beside it."""
    flat = np.array(pixels)
    near = np.zeros((len(pixels), 8), np.intp)
    near[:, 0], near[:, 1] = flat - 1, flat + 1
    shares = np.zeros((len(pixels), 8), np.float32)
    shares[:, :2] = 0.5
    return BadPixelMap(flat, near, shares)


def test_what_was_fused_before_leaves_no_trace(network, engine):
    """Sizes, types, gains, geometry, weights and strengths in turns give what an engine gives that sees only the one frame."""
    left, right = np.zeros((48, 64), np.float32), np.ones((48, 64), np.float32)
    left[:, :32] = 1.0
    right[:, :32] = 0.0
    thermal, rgb = pair()
    counts = (20_000 + 4_000 * thermal).astype(np.uint16)
    gain = {"black": 20_000.0, "factor": 1 / 4_000}
    many = bad_pixels(*range(65, 65 + 2 * 600, 2))
    frames = [
        ((thermal, rgb), {}),
        ((thermal, rgb), {"weight": left}),
        ((thermal, rgb), {"weight": right}),
        ((thermal, rgb), {"weight": right, "thermal_weight": 0.5}),
        ((thermal, rgb), {"thermal_weight": 0.25}),
        ((np.rint(thermal * 255).astype(np.uint8), rgb), {"factor": 1 / 255}),
        ((np.rint(thermal * 255).astype(np.uint8), rgb), {"factor": 1 / 255, "knee": 0.4, "slope": 3.0}),
        ((thermal, rgb), {"order": "bgr"}),
        ((thermal, rgb), {"output_order": "bgr"}),
        ((thermal, rgb[..., 1]), {}),
        (pair((33, 57)), {}),
        (pair(seed=1), {"weight": left}),
        ((counts, rgb), gain),
        ((counts, rgb), {"black": 21_000.0, "factor": 1 / 2_000}),
        ((counts, rgb), gain | {"columns": np.linspace(0, 900, 64, dtype=np.float32)}),
        ((counts, rgb), gain | {"bad_pixels": bad_pixels(100)}),
        ((counts, rgb), gain | {"bad_pixels": bad_pixels(100, 1000, 1002)}),
        ((counts, rgb), gain | {"bad_pixels": many}),
        ((counts, rgb), gain | {"sampling": corners()}),
        ((counts, rgb), gain | {"sampling": corners(shift=-3.5), "weight": left}),
        ((counts[:30, :40], rgb), gain | {"sampling": corners() * np.float32(0.6)}),
    ]
    expected = [fuse(DeviceEngine(network, CPU, "fp32"), *images, **options) for images, options in frames]
    assert len({picture.tobytes() for picture in expected}) == len(frames)
    for _ in range(2):
        for (images, options), picture in zip(frames, expected, strict=True):
            np.testing.assert_array_equal(fuse(engine, *images, **options), picture)


@pytest.mark.parametrize("inverted", [False, True])
def test_the_gain_of_the_device_is_that_of_the_cpu(inverted):
    counts = np.arange(256, dtype=np.uint8).reshape(16, 16)
    columns = np.linspace(-3, 3, 16, dtype=np.float32)
    black, factor = (255.0, -1 / 255) if inverted else (0.0, 1 / 255)
    view = ThermalInput(counts, black, factor, 0.4, 3.0, columns)
    x = np.clip((counts - columns.astype(np.float64) - black) * factor, 0, 1)
    expected = np.where(x > 0.4, np.minimum(0.4 + 3.0 * (x - 0.4), 1.0), x)
    bad = (torch.zeros(1, dtype=torch.int64), torch.zeros(1, 8, dtype=torch.int64), torch.tensor([[1.0] + 7 * [0.0]]))
    gain = torch.tensor([black, factor, 0.4, 3.0])
    tensors = ThermalTensors(torch.from_numpy(counts), gain, torch.from_numpy(columns), *bad, None, None)
    for result in (render_brightness(view), brightness(tensors).numpy()):
        np.testing.assert_allclose(result, expected, atol=1e-6)


def test_a_plan_is_for_one_size_type_and_order(engine):
    thermal, rgb = pair()
    plan = engine.plan(request(thermal, rgb))
    same = [
        request(*pair(seed=1)),
        request(thermal, rgb, thermal_weight=0.5),
        request(thermal, rgb, black=0.25, factor=2.0, columns=np.ones(64, np.float32)),
        request(thermal, rgb, bad_pixels=bad_pixels(100)),
    ]
    assert all(engine.plan(one) is plan for one in same)
    others = [
        request(thermal, rgb, order="bgr"),
        request((thermal * 255).astype(np.uint8), rgb),
        request(thermal, rgb, weight=thermal),
        request(thermal, rgb, sampling=corners()),
        request(thermal, rgb, output_order="bgr"),
    ]
    assert all(engine.plan(one) is not plan for one in others[:3])
    assert engine.plan(request(thermal, rgb)) is plan
    assert all(engine.plan(one) is not plan for one in others[3:])
    assert engine.plan(request(thermal, rgb)) is plan


def test_bad_pixels_found_later_need_no_new_plan(engine):
    """A new plan would be captured in the middle of a drive."""
    thermal, rgb = pair()
    plan = engine.plan(request(thermal, rgb))
    assert engine.plan(request(thermal, rgb, bad_pixels=bad_pixels(*range(100, 100 + BAD_PIXELS)))) is plan
    assert engine.plan(request(thermal, rgb, bad_pixels=bad_pixels(*range(100, 101 + BAD_PIXELS)))) is not plan


def test_a_size_in_use_outlives_others_that_pass_by(engine):
    plan = engine.plan(request(*pair()))
    for number in range(2 * PLANS_KEPT):
        fuse(engine, *pair((32 + 16 * number, 64)))
        fuse(engine, *pair())
    assert engine.plan(request(*pair())) is plan


def test_the_network_it_was_given_stays_as_it_was(network):
    DeviceEngine(network, CPU, "fp16")
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "gpu.py"


def test_the_gpu_benchmark_measures_or_says_why_it_cannot(tmp_path):
    command = [sys.executable, str(SCRIPT), "--runs", "20", "--seconds", "0.3", "-o", str(tmp_path / "gpu.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    if torch.cuda.is_available():
        assert done.returncode == 0, done.stderr
        report = json.loads((tmp_path / "gpu.json").read_text())
        assert report["within_two_levels"]
        assert all(way["captured"] for row in report["sizes"].values() for way in row["fp16"]["with_graph"].values())
    else:
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
        assert "nothing was measured: " in done.stderr
        assert list(tmp_path.iterdir()) == []


def test_the_gpu_benchmark_goes_through_on_the_cpu(tmp_path):
    options = ["--device", "cpu", "--sizes", "101x77", "--runs", "5", "--seconds", "0.2", "-o", str(tmp_path / "gpu.json")]
    done = subprocess.run([sys.executable, str(SCRIPT), *options], capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    row = json.loads((tmp_path / "gpu.json").read_text())["sizes"]["101x77"]["fp32"]
    assert row["against_cpu"]["largest_levels"] <= 1
    ways = [*row["with_graph"].values(), row["without_graph"]]
    assert len(ways) > 2
    assert all(way["largest_levels"] <= 2 for way in ways)
    assert all(way[time]["median_ms"] > 0 for way in ways for time in ("device", "fusion"))
    assert all(rate > 0 for rate in row["pairs_per_s"].values())


def test_pictures_that_are_held_are_known(engine):
    first, second = fuse(engine, *pair()), fuse(engine, *pair(seed=1))
    part = first[:8]
    del first, second
    gc.collect()
    assert [picture.shape for picture in engine.pictures()] == [(48, 64, 3)]
    assert np.shares_memory(engine.pictures()[0], part)


def test_maps_are_staged_anew_only_where_they_change_and_the_rest_always(engine):
    thermal, rgb = pair()
    where = corners()
    one = request(thermal, rgb, sampling=where, columns=np.zeros(64, np.float32))
    plan = engine.plan(one)
    uploads = []
    for again in (
        one,
        one,
        request(*pair(seed=1), sampling=where, columns=np.ones(64, np.float32)),
        request(thermal, rgb, sampling=corners(shift=0.5)),
    ):
        plan.stage(again)
        uploads.append(plan._upload_bytes)
    assert uploads[0] == uploads[3] == plan._memory.numel()
    assert uploads[1] == uploads[2] < plan._memory.numel() - where.nbytes + 1
