"""The engine of whole frames on one device: what it keeps, and when it would capture. On the CPU; test_fuser has what needs CUDA."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from aenet_ros.fusion.device_engine import CAPTURE_AFTER, PLANS_KEPT, DeviceEngine
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


@torch.inference_mode()
def fuse(engine, thermal, rgb, weight=None, strength=1.0, order="rgb"):
    return engine.run(thermal, rgb, order, weight, strength)


def test_what_was_fused_before_leaves_no_trace(network, engine):
    """Sizes, types, weights and strengths in turns give what an engine gives that sees only the one frame."""
    left, right = np.zeros((48, 64), np.float32), np.ones((48, 64), np.float32)
    left[:, :32] = 1.0
    right[:, :32] = 0.0
    thermal, rgb = pair()
    frames = [
        ((thermal, rgb), {}),
        ((thermal, rgb), {"weight": left}),
        ((thermal, rgb), {"weight": right}),
        ((thermal, rgb), {"weight": right, "strength": 0.5}),
        ((thermal, rgb), {"strength": 0.25}),
        ((np.rint(thermal * 255).astype(np.uint8), rgb), {}),
        ((thermal, rgb), {"order": "bgr"}),
        ((thermal, rgb[..., 1]), {}),
        (pair((33, 57)), {}),
        (pair(seed=1), {"weight": left}),
    ]
    expected = [fuse(DeviceEngine(network, CPU, "fp32"), *images, **options) for images, options in frames]
    assert len({picture.tobytes() for picture in expected}) == len(frames)
    for _ in range(2):
        for (images, options), picture in zip(frames, expected, strict=True):
            np.testing.assert_array_equal(fuse(engine, *images, **options), picture)


def test_results_are_the_callers_own(engine):
    first = fuse(engine, *pair())
    kept = first.copy()
    fuse(engine, *pair(seed=1))
    np.testing.assert_array_equal(first, kept)


def test_a_plan_is_for_one_size_type_and_order(engine):
    thermal, rgb = pair()
    plan = engine.plan(thermal, rgb, "rgb", None)
    assert engine.plan(*pair(seed=1), "rgb", None) is plan
    others = [
        engine.plan(thermal, rgb, "bgr", None),
        engine.plan((thermal * 255).astype(np.uint8), rgb, "rgb", None),
        engine.plan(thermal, rgb, "rgb", thermal),
    ]
    assert plan not in others
    assert engine.plan(thermal, rgb, "rgb", None) is plan


def test_a_size_is_captured_once_it_has_come_often_enough(engine):
    thermal, rgb = pair()
    for _ in range(CAPTURE_AFTER):
        assert not engine.plan(thermal, rgb, "rgb", None).due
        fuse(engine, thermal, rgb)
    assert engine.plan(thermal, rgb, "rgb", None).due


def test_more_sizes_in_turns_than_are_kept_are_never_captured(engine):
    sizes = [(32 + 16 * number, 48) for number in range(PLANS_KEPT + 1)]
    for _ in range(CAPTURE_AFTER + 2):
        for size in sizes:
            thermal, rgb = pair(size)
            fuse(engine, thermal, rgb)
            assert not engine.plan(thermal, rgb, "rgb", None).due


def test_a_size_in_use_outlives_others_that_pass_by(engine):
    thermal, rgb = pair()
    plan = engine.plan(thermal, rgb, "rgb", None)
    for number in range(2 * PLANS_KEPT):
        fuse(engine, *pair((32 + 16 * number, 64)))
        fuse(engine, thermal, rgb)
    assert engine.plan(thermal, rgb, "rgb", None) is plan


def test_the_network_it_was_given_stays_as_it_was(network):
    DeviceEngine(network, CPU, "fp16")
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


def test_the_gpu_benchmark_measures_or_says_why_it_cannot(tmp_path):
    script = Path(__file__).resolve().parents[1] / "benchmarks" / "gpu.py"
    command = [sys.executable, str(script), "--runs", "20", "--seconds", "0.3", "-o", str(tmp_path / "gpu.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    if torch.cuda.is_available():
        assert done.returncode == 0, done.stderr
        report = json.loads((tmp_path / "gpu.json").read_text())
        assert report["within_two_levels"]
        assert all(row["fp16"]["captured"] for row in report["sizes"].values())
    else:
        assert done.returncode == 1
        assert "no CUDA device here" in done.stderr
        assert list(tmp_path.iterdir()) == []
