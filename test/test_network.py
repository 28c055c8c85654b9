"""The network and its registries: shapes, budget, independence from a frame's statistics, the two ways of computing."""

from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from aenet_ros.core.errors import ConfigError, ImageError
from aenet_ros.fusion import blocks
from aenet_ros.fusion.blocks import BLOCKS, DOWNSAMPLINGS, make_block
from aenet_ros.fusion.checkpoint import load_checkpoint
from aenet_ros.fusion.network import AENet, AENetConfig, parameter_count


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def planes(height, width, batch=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(2, batch, 1, height, width, generator=generator)


@pytest.mark.parametrize(("block", "downsampling"), list(product(BLOCKS, DOWNSAMPLINGS)))
def test_every_combination_fuses_and_learns(block, downsampling):
    network = AENet(AENetConfig(width=8, levels=2, block=block, downsampling=downsampling))
    thermal, luma = planes(32, 48, batch=2)
    fused = network(thermal, luma)
    assert fused.shape == luma.shape
    fused.square().mean().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize("block", BLOCKS)
def test_fused_operators_give_the_plain_result(block, monkeypatch):
    network = AENet(AENetConfig(width=8, levels=2, block=block)).eval().to(memory_format=torch.channels_last)
    thermal, luma = planes(48, 64)
    with torch.inference_mode():
        fast = network(thermal, luma)
        monkeypatch.setattr(blocks, "_AVAILABLE", False)
        plain = network(thermal, luma)
    assert torch.allclose(fast, plain, atol=1e-5)
    assert torch.allclose(network(thermal, luma), plain, atol=1e-5), "with gradients"


def test_default_is_within_the_budget():
    """69 kB of float32, the paper's bound, is 17,600 weights."""
    assert parameter_count(AENet()) <= 17_600


@pytest.mark.parametrize("size", [(16, 16), (17, 31), (480, 640), (123, 77)])
def test_any_size(size):
    thermal, luma = planes(*size)
    with torch.inference_mode():
        fused = AENet().eval()(thermal, luma)
    assert fused.shape[2:] == size
    assert float(fused.min()) >= 0.0
    assert float(fused.max()) <= 1.0


def test_padding_is_the_edge_continued():
    network = AENet().eval()
    thermal, luma = planes(40, 50)
    longer = [F.pad(plane, (0, 14, 0, 8), mode="replicate") for plane in (thermal, luma)]
    with torch.inference_mode():
        assert torch.allclose(network(thermal, luma), network(*longer)[:, :, :40, :50], atol=1e-6)


def test_a_pixel_does_not_depend_on_far_ones():
    """No normalisation by the frame: what happens 250 pixels away changes nothing, so video does not pump."""
    network = load_checkpoint()[0]
    thermal, luma = planes(64, 512)
    with torch.inference_mode():
        before = network(thermal, luma)
        thermal[..., 400:] = 1.0
        after = network(thermal, luma)
    assert torch.equal(before[..., :150], after[..., :150])


def test_untrained_network_is_near_the_maximum():
    torch.manual_seed(0)
    thermal, luma = (F.interpolate(plane, scale_factor=8, mode="bilinear") for plane in planes(8, 8))
    with torch.inference_mode():
        fused = AENet().eval()(thermal, luma)
    assert float((fused - torch.maximum(thermal, luma)).abs().mean()) < 0.06


def smooth(height, width, seed):
    """A plane without detail, and random shares of any network's head."""
    return F.interpolate(planes(height // 16, width // 16, seed=seed)[0], size=(height, width), mode="bicubic").clamp(0, 1)


@pytest.mark.parametrize("seed", range(5))
def test_smooth_sources_give_a_picture_between_them(seed):
    """Whatever the weights, without the share of what is hot: the base is a mixture. What is outside is detail: the planes' curvature."""
    torch.manual_seed(seed)
    network = AENet().eval()
    with torch.no_grad():
        network.head.weight.normal_(0.0, 0.3)
        network.head.weight[2], network.head.bias[2] = 0.0, -30.0
    thermal, luma = smooth(128, 160, seed), smooth(128, 160, seed + 50)
    with torch.inference_mode():
        fused = network(thermal, luma)
    low, high = torch.minimum(thermal, luma), torch.maximum(thermal, luma)
    outside = torch.maximum(low - fused, fused - high)
    assert float(outside.max()) < 0.2
    assert float(outside.clamp_min(0.0).mean()) < 0.015


def test_black_stays_black_and_hot_shows_with_the_packaged_weights():
    network = load_checkpoint()[0]
    thermal, luma = torch.zeros(1, 1, 128, 128), torch.zeros(1, 1, 128, 128)
    with torch.inference_mode():
        assert float(network(thermal, luma).max()) < 12 / 255
        thermal[..., 48:80, 48:80] = 1.0
        fused = network(thermal, luma + 0.3)
    assert float(fused[..., 56:72, 56:72].mean()) > float(fused[..., :16, :16].mean()) + 0.3


def test_no_grid_on_flat_and_sloping_planes():
    """Maps at a quarter of the size can show their tiles: on smooth input bends by place in the tile differ by less than a grey level."""
    network = load_checkpoint()[0]
    ramp = torch.linspace(0.1, 0.9, 256).expand(1, 1, 128, 256).contiguous()
    with torch.inference_mode():
        for thermal, luma in ((ramp, torch.full_like(ramp, 0.4)), (torch.full_like(ramp, 0.2), ramp), (ramp, ramp)):
            fused = 255 * network(thermal, luma)[0, 0, 40:-40, 40:-40].numpy()
            for axis in (0, 1):
                bends = np.moveaxis(np.abs(np.diff(fused, n=2, axis=axis)), axis, 0)
                by_place = [bends[place::4].mean() for place in range(4)]
                assert max(by_place) - min(by_place) < 1.0


def test_refuses_what_it_cannot_fuse():
    network = AENet()
    with pytest.raises(ImageError, match="one size"):
        network(torch.zeros(1, 1, 32, 32), torch.zeros(1, 1, 32, 48))
    with pytest.raises(ImageError, match="too small"):
        network(torch.zeros(1, 1, 15, 32), torch.zeros(1, 1, 15, 32))
    with pytest.raises(ConfigError, match="plain, group"):
        make_block("resnet", 16)
    with pytest.raises(ConfigError, match="multiple of 4"):
        AENet(AENetConfig(width=6))
    with pytest.raises(ConfigError, match="unshuffle"):
        AENet(AENetConfig(downsampling="bicubic"))
    with pytest.raises(ConfigError, match="levels"):
        AENet(AENetConfig(levels=0))
