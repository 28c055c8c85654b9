"""The first guess: scale, turn and shift at which the edges of all pairs together agree best."""

from collections.abc import Sequence

import cv2
import numpy as np

from aenet_ros.core.frames import Array, Plane
from aenet_ros.registration.calibration_file import Size, size_of
from aenet_ros.registration.edges import edges, warped
from aenet_ros.registration.maps import scaling

WIDTH = 96  # of the pictures that are compared
SCALES = np.exp(np.arange(np.log(0.5), np.log(2.01), 0.06))  # thermal field of view against the rgb one's
TURNS = np.arange(-8.0, 8.1, 2.0)  # degrees
LEAST_OVERLAP = 0.4  # of the thermal view inside the rgb picture


def first_guess(thermals: Sequence[Plane], rgbs: Sequence[Plane]) -> Array:
    """The best similarity by exhaustive search: float64 [3, 3], full-size rgb pixels to full-size thermal pixels.

    Pictures are float32 [H, W] 0..1, all thermal ones of one size, all rgb ones too.
    """
    rgb_size, thermal_size = size_of(rgbs[0]), size_of(thermals[0])
    size = (max(16, round(rgb_size[0] * WIDTH / rgb_size[1])), WIDTH)
    shrink = min(1.0, 1.5 * WIDTH / thermal_size[1])
    small_size = (max(8, round(thermal_size[0] * shrink)), max(8, round(thermal_size[1] * shrink)))
    rgb_edges = [edges(cv2.resize(rgb, size[::-1], interpolation=cv2.INTER_AREA)) for rgb in rgbs]
    small = [cv2.resize(thermal, small_size[::-1], interpolation=cv2.INTER_AREA) for thermal in thermals]
    look = _Look(rgb_edges, small)
    found = [look.at(_place(scale, turn, size, small_size)) for scale in SCALES for turn in TURNS]
    _, best = max(found, key=lambda item: item[0])
    whole = scaling(small_size, thermal_size) @ best @ scaling(rgb_size, size)
    return np.asarray(whole / whole[2, 2])


def _place(scale: float, turn: float, size: Size, small_size: Size) -> Array:
    """Pixels of a grid to small thermal pixels, about the middles of both; at scale 1 the two are equally wide. Pixels are square."""
    unit = scale * small_size[1] / size[1]
    c, s = unit * np.cos(np.deg2rad(turn)), unit * np.sin(np.deg2rad(turn))
    from_middle = np.array([[1, 0, -(size[1] - 1) / 2], [0, 1, -(size[0] - 1) / 2], [0, 0, 1]])
    return np.asarray(np.array([[c, -s, (small_size[1] - 1) / 2], [s, c, (small_size[0] - 1) / 2], [0, 0, 1]]) @ from_middle)


class _Look:
    """Spectra of the rgb edges, made once, and the comparison with thermal pictures at one scale and turn, over all shifts at once."""

    def __init__(self, rgb_edges: Sequence[Plane], thermals: Sequence[Array]) -> None:
        self.size = size_of(rgb_edges[0])
        height, width = self.size
        self._thermals = thermals
        # Shifts of up to three quarters of the picture do not wrap around.
        self._padded = cv2.getOptimalDFTSize(2 * height - height // 4), cv2.getOptimalDFTSize(2 * width - width // 4)
        self._rgb = [self._spectrum(found) for found in rgb_edges]
        self._rgb_energy = self._spectrum(np.sum([np.square(found).sum(-1) for found in rgb_edges], axis=0))
        self._rgb_seen = self._spectrum(np.ones(self.size))

    def at(self, place: Array) -> tuple[float, Array]:
        """The best score over all shifts, and ``place`` with that shift."""
        energy, total, seen = np.zeros(self.size), np.zeros_like(self._rgb_seen), np.ones(self.size, bool)
        for thermal, spectrum in zip(self._thermals, self._rgb, strict=True):
            picture, seen = warped(thermal, place, self.size)
            found = edges(picture, seen)
            energy += np.square(found).sum(-1)
            total = total + (np.conj(self._spectrum(found)) * spectrum).sum(-1)
        mask = np.conj(self._spectrum(seen.astype(np.float64)))
        products = (total, self._rgb_energy * mask, self._rgb_seen * np.conj(self._spectrum(energy)), self._rgb_seen * mask)
        agreed, under_thermal, under_rgb, overlap = (np.fft.irfft2(product, self._padded) for product in products)
        whole = seen.size
        # Pearson's correlation over the overlap. A small overlap agrees by chance more easily, hence the second root.
        score = agreed / np.sqrt(np.maximum(under_thermal * under_rgb, 1e-6)) * np.sqrt(np.clip(overlap / whole, 0, 1))
        score[overlap < LEAST_OVERLAP * max(1.0, float(seen.sum()))] = 0.0
        row, column = np.unravel_index(np.argmax(score), score.shape)
        down, right = (int(at) - size if at > size // 2 else int(at) for at, size in zip((row, column), self._padded, strict=True))
        return float(score[row, column]), place @ np.array([[1, 0, -right], [0, 1, -down], [0, 0, 1]])

    def _spectrum(self, planes: Array) -> Array:
        return np.fft.rfft2(planes, self._padded, axes=(0, 1))
