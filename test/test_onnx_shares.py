"""``model.backend: auto``: ONNX Runtime for the convolutions where it is faster, chosen at warm-up; torch everywhere else."""

import numpy as np
import pytest
import torch

from aenet_ros.config import build
from aenet_ros.core.frames import Frame, FramePair
from aenet_ros.fusion import onnx_shares
from aenet_ros.fusion.checkpoint import load_checkpoint
from aenet_ros.fusion.cpu_network import CpuNetwork
from aenet_ros.fusion.network import AENet
from aenet_ros.fusion.onnx_shares import OnnxShares, choose
from aenet_ros.pipeline import FusionPipeline


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def runtimes():
    for package in ("onnxruntime", "onnx"):
        pytest.importorskip(package, reason=f"{package} is not installed (the extra [export])")


def planes(height, width, seed=0):
    return np.random.default_rng(seed).random((2, height, width), np.float32)


def pair(stamp_ns, seed=0):
    random = np.random.default_rng(seed)
    counts = random.integers(29_000, 31_000, (96, 128)).astype(np.uint16)
    rgb = random.integers(0, 255, (96, 128, 3)).astype(np.uint8)
    return FramePair(Frame(stamp_ns, counts, "mono16"), Frame(stamp_ns, rgb, "rgb8"))


def test_both_runtimes_give_the_same_planes_at_any_size(runtimes):
    network = load_checkpoint()[0]
    by_torch, by_onnx = CpuNetwork(network), CpuNetwork(network, OnnxShares(network, 1))
    for size in ((16, 16), (123, 77), (480, 640), (64, 512)):
        given = planes(*size)
        difference = by_onnx(*given).astype(int) - by_torch(*given)
        assert np.abs(difference).max() <= 1
        assert np.count_nonzero(difference) < 0.001 * difference.size


def test_the_choice_names_both_times(runtimes):
    choice = choose(load_checkpoint()[0], (96, 128), 1)
    assert choice.name in ("torch", "onnxruntime")
    assert "128x96: torch" in choice.reason
    assert "onnxruntime" in choice.reason


def test_without_the_packages_torch_runs_and_the_remedy_is_named(monkeypatch):
    monkeypatch.setattr(onnx_shares, "PACKAGES", ("onnxruntime", "a_package_that_does_not_exist"))
    choice = choose(AENet().eval(), (32, 32), 1)
    assert choice.name == "torch"
    assert "a_package_that_does_not_exist not installed (pip install" in choice.reason
    assert choice.network(*planes(32, 32)).shape == (32, 32)


class FailsTraced(AENet):
    """A network that no exporter can follow."""

    def shares(self, both):
        raise RuntimeError("cannot be traced")


class DiffersTraced(AENet):
    """A network whose exported form computes something else."""

    def shares(self, both):
        return super().shares(both) + 1.0


@pytest.mark.parametrize(("kind", "reason"), [(FailsTraced, "failed (cannot be traced)"), (DiffersTraced, "differs by")])
def test_torch_runs_where_the_export_fails_or_differs(runtimes, kind, reason):
    torch.manual_seed(0)
    network = kind().eval()
    choice = choose(network, (64, 64), 1)
    assert choice.name == "torch"
    assert reason in choice.reason
    reference = AENet().eval()
    reference.load_state_dict(network.state_dict())
    given = planes(64, 64)
    np.testing.assert_array_equal(choice.network(*given), CpuNetwork(reference)(*given))


def test_without_a_warm_up_the_default_gives_the_bytes_of_torch():
    """Offline tools do not warm up: equal input gives equal bytes."""
    default, by_torch = (FusionPipeline(build({"model.device": "cpu", **options})) for options in ({}, {"model.backend": "torch"}))
    for number in range(3):
        given = pair(number * 33_000_000, seed=number)
        np.testing.assert_array_equal(default.process(given).image, by_torch.process(given).image)
    assert default.status().backend == "torch"


@pytest.mark.parametrize("backend", ["auto", "torch"])
def test_a_warm_up_chooses_and_the_picture_stays_within_a_grey_level(backend):
    live, by_torch = (FusionPipeline(build({"model.device": "cpu", "model.backend": name})) for name in (backend, "torch"))
    live.warm_up((96, 128), (96, 128))
    status = live.status()
    if backend == "torch":
        assert (status.backend, status.backend_reason) == ("torch", "")
    else:
        assert status.backend in ("torch", "onnxruntime")
        assert status.backend_reason
    difference = live.process(pair(1)).image.astype(int) - by_torch.process(pair(1)).image
    assert np.abs(difference).max() <= 1


def test_a_forced_choice_of_onnxruntime_is_used_by_the_pipeline(runtimes, monkeypatch):
    monkeypatch.setattr(onnx_shares, "FASTER", float("inf"))
    live, by_torch = (FusionPipeline(build({"model.device": "cpu", "model.backend": name})) for name in ("auto", "torch"))
    live.warm_up((96, 128), (96, 128))
    assert live.status().backend == "onnxruntime"
    difference = live.process(pair(1)).image.astype(int) - by_torch.process(pair(1)).image
    assert np.abs(difference).max() <= 1
