"""The network's form for CPUs against the network itself in torch's plain operators."""

from itertools import product

import numpy as np
import pytest
import torch

from aenet_ros.core.errors import ImageError
from aenet_ros.fusion import blocks, cpu_network
from aenet_ros.fusion.blocks import BLOCKS, DOWNSAMPLINGS
from aenet_ros.fusion.checkpoint import load_checkpoint
from aenet_ros.fusion.cpu_network import CpuNetwork
from aenet_ros.fusion.network import AENet, AENetConfig


def planes(height, width, seed=0):
    return np.random.default_rng(seed).random((2, height, width), np.float32)


def by_torch(network, thermal, luma):
    """Grey levels; with gradients, so that the plain operators compute it."""
    return 255.0 * network(*(torch.from_numpy(plane.copy())[None, None] for plane in (thermal, luma)))[0, 0].detach().numpy()


def assert_rounded(fused, levels):
    """``fused``, uint8, is ``levels`` rounded; the network's float planes may differ by 1e-5 of the range."""
    assert fused.dtype == np.uint8
    assert float(np.abs(fused - levels).max()) <= 0.5 + 255e-5


@pytest.mark.parametrize("onednn", [True, False])
@pytest.mark.parametrize("size", [(16, 16), (17, 31), (480, 640), (123, 77), (64, 512)])
def test_packaged_weights_give_the_networks_planes(size, onednn, monkeypatch):
    monkeypatch.setattr(blocks, "_AVAILABLE", blocks._AVAILABLE and onednn)
    network = load_checkpoint()[0]
    form = CpuNetwork(network)
    for seed in range(2):  # the second call uses the buffers of the first
        given = planes(*size, seed)
        fused = form(*given)
        assert fused.shape == size
        assert_rounded(fused, by_torch(network, *given))


@pytest.mark.parametrize(("block", "downsampling"), list(product(BLOCKS, DOWNSAMPLINGS)))
def test_every_architecture_gives_the_networks_planes(block, downsampling):
    torch.manual_seed(0)
    network = AENet(AENetConfig(width=8, levels=2, block=block, downsampling=downsampling)).eval()
    with torch.no_grad():
        network.head.weight.normal_(0.0, 0.3)
    given = planes(48, 64)
    assert_rounded(CpuNetwork(network)(*given), by_torch(network, *given))


@pytest.mark.parametrize("strip_pixels", [1, 5_000, 100_000])
def test_strips_leave_no_trace(strip_pixels, monkeypatch):
    network, given = load_checkpoint()[0], planes(256, 320)
    whole = CpuNetwork(network)(*given)
    monkeypatch.setattr(cpu_network, "STRIP_PIXELS", strip_pixels)
    np.testing.assert_array_equal(CpuNetwork(network)(*given), whole)


@pytest.mark.parametrize("size", [(64, 96), (50, 71)])
def test_a_share_mixes_luma_in(size):
    network, (thermal, luma) = load_checkpoint()[0], planes(*size)
    levels = by_torch(network, thermal, luma)
    ramp = np.tile(np.linspace(0.0, 1.0, size[1], dtype=np.float32), (size[0], 1))
    for share in (0.3, 0, ramp):
        fused = CpuNetwork(network)(thermal, luma, share)
        assert_rounded(fused, 255.0 * luma + share * (levels - 255.0 * luma))


def test_strided_and_read_only_planes():
    form = CpuNetwork(load_checkpoint()[0])
    wide = planes(64, 192)
    expected = form(*wide[:, :, ::2].copy())
    wide.flags.writeable = False
    np.testing.assert_array_equal(form(*wide[:, :, ::2]), expected)


def test_the_copy_does_not_follow_the_network_and_leaves_it_as_it_is():
    network = AENet().eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    form, given = CpuNetwork(network), planes(32, 32)
    fused = form(*given)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(parameter.requires_grad for parameter in network.parameters())
    with torch.no_grad():
        network.head.bias.add_(1.0)
    np.testing.assert_array_equal(form(*given), fused)


def test_a_result_is_not_overwritten_by_the_next_call():
    form = CpuNetwork(load_checkpoint()[0])
    first = form(*planes(32, 48))
    kept = first.copy()
    form(*planes(32, 48, seed=1))
    np.testing.assert_array_equal(first, kept)


def test_refuses_what_it_cannot_fuse():
    form = CpuNetwork(AENet())
    with pytest.raises(ImageError, match="one size"):
        form(np.zeros((32, 32), np.float32), np.zeros((32, 48), np.float32))
    with pytest.raises(ImageError, match=r"15x32 is too small"):
        form(np.zeros((32, 15), np.float32), np.zeros((32, 15), np.float32))
