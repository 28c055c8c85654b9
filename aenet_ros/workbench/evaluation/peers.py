"""What published fusion networks cost: their layers, written anew and checked against their authors' repositories, with random weights.

For speed alone: these make no pictures worth looking at. Each class names the repository on GitHub (owner/name) whose channels, kernels,
activations, norms and number of parameters were checked. Borders are padded with zeros: SeAFusion's own way, and no dearer than the
others' (DenseFuse and U2Fusion mirror the border, IFCNN repeats its edge, which copies each plane once more). Those that fuse three
channels get grey ones, as they do with thermal frames.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aenet_ros.workbench.evaluation.timing import TwoConvolutions


def _conv(channels: int, out: int, size: int = 3, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(channels, out, size, padding=size // 2, bias=bias)


class DenseFuse(nn.Module):
    """Li and Wu, "DenseFuse: A Fusion Approach to Infrared and Visible Images", IEEE TIP 2019 (addition of the features).

    Checked: hli1221/imagefusion_densefuse (layers; the size of its file: each weight with its optimiser's two values) and
    hli1221/densefuse-pytorch (the same layers, but a ReLU after the last, where the first, the paper's own, has none).
    """

    def __init__(self) -> None:
        super().__init__()
        self.first = _conv(1, 16)
        self.dense = nn.ModuleList(_conv(16 * count, 16) for count in (1, 2, 3))
        self.decoder = nn.ModuleList((_conv(64, 64), _conv(64, 32), _conv(32, 16), _conv(16, 1)))

    def _encode(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x))
        for layer in self.dense:
            x = torch.cat((x, F.relu(layer(x))), 1)
        return x

    def forward(self, thermal: Tensor, luma: Tensor) -> Tensor:
        """Planes float [B, 1, H, W] to one of the same shape."""
        x = self._encode(thermal) + self._encode(luma)
        for layer in self.decoder[:-1]:
            x = F.relu(layer(x))
        fused: Tensor = self.decoder[-1](x)
        return fused


class IFCNN(nn.Module):
    """Zhang et al., "IFCNN: A general image fusion framework based on convolutional neural network", Information Fusion 2020 (maximum).

    Checked: uzeful/IFCNN (layers and the shapes of its weights). The first layer is ResNet-101's at stride 1, without norm and activation.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first = _conv(3, 64, 7, bias=False)
        self.second, self.second_norm = _conv(64, 64, bias=False), nn.BatchNorm2d(64)
        self.third, self.third_norm = _conv(64, 64, bias=False), nn.BatchNorm2d(64)
        self.last = _conv(64, 3, 1)

    def _encode(self, x: Tensor) -> Tensor:
        return F.relu(self.second_norm(self.second(self.first(x.expand(-1, 3, -1, -1)))))

    def forward(self, thermal: Tensor, luma: Tensor) -> Tensor:
        """Planes float [B, 1, H, W] to [B, 3, H, W]."""
        x = torch.maximum(self._encode(thermal), self._encode(luma))
        fused: Tensor = self.last(F.relu(self.third_norm(self.third(x))))
        return fused


class _GradientDense(nn.Module):
    """SeAFusion's gradient residual dense block: a dense path, and Sobel gradients beside it."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.dense = nn.ModuleList((_conv(channels, channels), _conv(2 * channels, channels)))
        self.down = _conv(3 * channels, out, 1)
        self.across, self.along = (nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False) for _ in range(2))
        self.up = _conv(channels, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        dense = x
        for layer in self.dense:
            dense = torch.cat((dense, F.leaky_relu(layer(dense), 0.2)), 1)
        gradient = self.across(x).abs() + self.along(x).abs()
        return F.leaky_relu(self.down(dense) + self.up(gradient), 0.1)


class SeAFusion(nn.Module):
    """Tang et al., "Image fusion in the loop of high-level vision tasks", Information Fusion 2022.

    Checked: Linfeng-Tang/SeAFusion (layers; its file of weights was out of reach, so the number of parameters is that of its layers).
    Its decoder holds batch norms, 226 of the 166,883 parameters, and does not apply them; nor does this one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(
            nn.Sequential(_conv(1, 16), nn.LeakyReLU(0.2), _GradientDense(16, 32), _GradientDense(32, 48)) for _ in range(2)
        )
        layers: list[nn.Module] = []
        for channels, out in ((96, 64), (64, 32), (32, 16)):
            layers += [_conv(channels, out), nn.LeakyReLU(0.2)]
        self.decoder = nn.Sequential(*layers, _conv(16, 1), nn.Tanh())
        self.never_applied = nn.ModuleList(nn.BatchNorm2d(channels) for channels in (64, 32, 16, 1))  # for the number of parameters alone

    def forward(self, thermal: Tensor, luma: Tensor) -> Tensor:
        """Planes float [B, 1, H, W] to one of the same shape."""
        features = [encode(plane) for encode, plane in zip(self.encoders, (luma, thermal), strict=True)]
        fused: Tensor = self.decoder(torch.cat(features, 1))
        return fused / 2 + 0.5


class U2Fusion(nn.Module):
    """Xu et al., "U2Fusion: A Unified Unsupervised Image Fusion Network", IEEE TPAMI 2022.

    Checked: hanna-xu/U2Fusion (layers and the size of its file of weights); the authors' hanna-xu/U2Fusion-pytorch was out of reach.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first = _conv(2, 44)
        self.dense = nn.ModuleList(_conv(44 * count, 44) for count in range(1, 6))
        self.decoder = nn.ModuleList((_conv(264, 128), _conv(128, 64), _conv(64, 32)))
        self.last = _conv(32, 1)

    def forward(self, thermal: Tensor, luma: Tensor) -> Tensor:
        """Planes float [B, 1, H, W] to one of the same shape."""
        x = F.leaky_relu(self.first(torch.cat((thermal, luma), 1)), 0.2)
        for layer in self.dense:
            x = torch.cat((x, F.leaky_relu(layer(x), 0.2)), 1)
        for layer in self.decoder:
            x = F.leaky_relu(layer(x), 0.2)
        return torch.tanh(self.last(x)) / 2 + 0.5


PEERS: dict[str, Callable[[], nn.Module]] = {
    "yardstick": TwoConvolutions,
    "DenseFuse": DenseFuse,
    "IFCNN": IFCNN,
    "SeAFusion": SeAFusion,
    "U2Fusion": U2Fusion,
}
"""The cost models by the name of the network.

yardstick is MMDRFuse's. Checked: yanglinDeng/MMDRFuse (layers and the shapes of its weights).
"""
