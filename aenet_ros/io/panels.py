"""What one frame of a video, or one picture, shows: the fused picture alone, or beside what it was made of."""

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from aenet_ros.core.frames import Array, FramePair, FusedFrame
from aenet_ros.pipeline import FusionPipeline
from aenet_ros.thermal.agc import Range, gain_of, scale_to_unit

_CAPTION = 24
_PAPER, _INK = (32, 32, 32), (235, 235, 235)


class Panels:
    """Fuses pairs and lays the wanted panels, of ``thermal``, ``rgb`` and ``fused``, side by side.

    ``thermal`` is the thermal frame on the rgb grid, as bright as it went into fusion; black where that camera does not see.
    """

    def __init__(self, names: Sequence[str], labels: bool, pipeline: FusionPipeline) -> None:
        self._names, self._labels, self._pipeline = tuple(names), labels, pipeline

    def process(self, pair: FramePair) -> FusedFrame:
        """The fused frame whose image holds the panels; raises what the pipeline raises."""
        if self._names == ("fused",) and not self._labels:
            return self._pipeline.process(pair)
        fused = self._pipeline.process(pair, want_registered="thermal" in self._names)
        panels = [labelled(self._panel(name, pair, fused), name if self._labels else "") for name in self._names]
        return replace(fused, image=np.ascontiguousarray(np.hstack(panels)), encoding="rgb8", thermal_registered=None)

    def follow(self, pair: FramePair) -> None:
        """Let the pipeline see a pair whose result is there already, so that the next ones come out as if it had been fused."""
        self._pipeline.prepare_thermal(pair.thermal)
        self._pipeline.update_sensor_model()

    def _panel(self, name: str, pair: FramePair, fused: FusedFrame) -> Array:
        if name == "fused":
            return as_rgb(fused.image, fused.encoding)
        if name == "rgb":
            rgb = as_rgb(pair.rgb.data, pair.rgb.encoding)
            warps = self._pipeline.prepare_grid(pair.thermal.size, pair.rgb.size, pair.depth)
            return warps.rgb(rgb, np.zeros(pair.thermal.size, np.float32))
        assert fused.thermal_registered is not None
        agc = self._pipeline.agc
        brightness = np.empty(fused.thermal_registered.shape, np.float32)
        scale_to_unit(fused.thermal_registered, gain_of(Range(agc.low, agc.high), agc.config.invert), brightness)
        return as_rgb(np.round(brightness * 255.0).astype(np.uint8), "mono8")


def as_rgb(image: Array, encoding: str) -> Array:
    """uint8 [H, W, 3] in the order red, green, blue, of an image in mono8, bgr8 or rgb8."""
    if encoding == "rgb8":
        return image
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_GRAY2RGB if encoding == "mono8" else cv2.COLOR_BGR2RGB))


def labelled(image: Array, text: str) -> Array:
    """The picture, uint8 [H, W, 3], under a strip of _CAPTION rows with the text; without text the picture alone."""
    if not text:
        return image
    strip = np.full((_CAPTION, image.shape[1], 3), _PAPER, np.uint8)
    cv2.putText(strip, text, (6, _CAPTION - 7), cv2.FONT_HERSHEY_SIMPLEX, 0.55, _INK, 1, cv2.LINE_AA)
    return np.vstack([strip, image])
