"""A synthetic thermal + RGB rig with ground truth: the instant that each frame shows, and where each person is.

``Rig(config).events()`` yields both cameras' frames in order of time. The same seed gives the same bytes.
Thermal frames are mono16 counts of 0.01 K from 0 K (``celsius = counts * 0.01 - 273.15``), as radiometric
cameras give them; rgb frames are rgb8.
"""

import heapq
import itertools
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from aenet_ros.core.frames import Array, Frame, Plane
from aenet_ros.workbench.simulation import geometry
from aenet_ros.workbench.simulation.camera import Renderer
from aenet_ros.workbench.simulation.people import WALKERS
from aenet_ros.workbench.simulation.rig_config import RigConfig


@dataclass(frozen=True, slots=True)
class BodyTruth:
    """Where one person is: pixels (x, y) of the centre, and boxes (left, top, right, bottom), in both pictures.

    True to half a pixel. They may lie outside the pictures, or be hidden by nearer people or smoke.
    """

    name: str
    rgb_xy: tuple[float, ...]
    thermal_xy: tuple[float, ...]
    rgb_box: tuple[float, ...]
    thermal_box: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Shot:
    """Ground truth of one frame, without its pixels.

    ``at_ns``: instant of capture since the rig's start. ``shows_ns``: the instant that the picture shows, which is
    earlier while the shutter is closed (``shutter``). ``stamp_ns`` = start + at_ns + offset_ns + jitter_ns.
    ``index`` counts the stream's captures, lost ones included.
    """

    stream: str
    index: int
    at_ns: int
    shows_ns: int
    shows_index: int
    stamp_ns: int
    offset_ns: int
    jitter_ns: int
    scene: str
    shutter: bool
    shutters: int


@dataclass(frozen=True, slots=True)
class RigEvent:
    """A frame with its ground truth; ``stream`` is ``thermal`` or ``rgb``."""

    stream: str
    frame: Frame
    shot: Shot
    bodies: tuple[BodyTruth, ...]


class Rig:
    """The rig. ``dropped`` counts lost frames by stream.

    ``homography`` is the ground truth of the registration: float64 [3, 3] from rgb pixels to thermal pixels, both at full size. It is true
    for the backdrop, before the lens (``lens_k1``); people are off by up to ``parallax_px``.
    """

    def __init__(self, config: RigConfig | None = None) -> None:
        self.config = config or RigConfig()
        self.homography = geometry.rgb_to_thermal(self.config)
        self.dropped = {"thermal": 0, "rgb": 0}

    @cached_property
    def _renderer(self) -> Renderer:
        return Renderer(self.config)

    def prepare(self) -> None:
        """Render the world now (about two seconds), not when the first frames are taken."""
        self._renderer.prepare()

    def rgb_to_thermal(self, points: Array) -> Array:
        """Map points of the backdrop from rgb pixels to thermal pixels, lens included: float64 [N, 2], (x, y)."""
        return geometry.bend(self.config, geometry.apply(self.homography, points))

    def schedule(self, start_ns: int = 0, seconds: float = math.inf) -> Iterator[Shot]:
        """Ground truth of each frame in order of capture; of frames captured at the same instant thermal comes first.

        ``start_ns`` is the stamp of the rig's start. Lost frames are omitted and counted in ``dropped``.
        """
        streams = (self._stream(name, start_ns, seconds) for name in ("thermal", "rgb"))
        return heapq.merge(*streams, key=lambda shot: shot.at_ns)

    def render(self, shot: Shot, out: Array | None = None) -> Array:
        """Render a shot: uint16 [H, W] counts or uint8 [H, W, 3] rgb, in ``out`` where that is given."""
        moment = (shot.shows_ns / 1e9, shot.shows_index, shot.scene)
        if shot.stream == "thermal":
            return self._renderer.thermal(*moment, shot.shutters, out)
        return self._renderer.rgb(*moment, shot.shows_ns / 1e9 % self.config.scene_s, out)

    def events(self, seconds: float = math.inf, start_ns: int = 0) -> Iterator[RigEvent]:
        """Frames with their ground truth for ``seconds`` of the rig's time, not paced. Each frame has its own memory."""
        for shot in self.schedule(start_ns, seconds):
            encoding = "mono16" if shot.stream == "thermal" else "rgb8"
            frame = Frame(shot.stamp_ns, self.render(shot), encoding, f"{shot.stream}_camera")
            yield RigEvent(shot.stream, frame, shot, self.bodies(shot.shows_ns))

    def bodies(self, shows_ns: int) -> tuple[BodyTruth, ...]:
        """Where the people are at an instant of the rig's time."""
        seconds = shows_ns / 1e9
        to_rgb = geometry.world_to_rgb(self.config, seconds)
        found = []
        for index, walker in enumerate(WALKERS):
            x = walker.at(seconds if self.config.walking else 0.0)[0]
            points = np.vstack([[x, walker.foot_y - walker.height / 2], walker.outline(x)])
            in_rgb = geometry.apply(to_rgb, points)
            aside = np.array([geometry.parallax(self.config, walker.foot_y), 0.0])
            in_thermal = self.rgb_to_thermal(geometry.apply(to_rgb, points + aside))
            boxes = [(*at[1:].min(0).tolist(), *at[1:].max(0).tolist()) for at in (in_rgb, in_thermal)]
            found.append(BodyTruth(f"person {index}", tuple(in_rgb[0].tolist()), tuple(in_thermal[0].tolist()), *boxes))
        return tuple(found)

    def celsius(self, shows_ns: int) -> Plane:
        """The temperatures in front of the thermal camera, without noise and dead pixels: float32 [H, W], degrees Celsius."""
        return self._renderer.celsius(shows_ns / 1e9, self._scene(shows_ns))

    def sensor_marks(self, shutters: int = 0) -> tuple[Array, Plane]:
        """Defects of the thermal sensor: dead and weak pixels, bool [H, W]; the fixed pattern after ``shutters`` shutter events,
        float32 [H, W] counts, which is added to the scene's counts.
        """
        return self._renderer.sensor_defects(shutters)

    def _stream(self, stream: str, start_ns: int, seconds: float) -> Iterator[Shot]:
        config, thermal = self.config, stream == "thermal"
        rate, lost = (config.thermal_hz, config.thermal_drop) if thermal else (config.rgb_hz, config.rgb_drop)
        phase_ns, offset_ns = (round(config.phase_ms * 1e6), round(config.offset_ms * 1e6)) if thermal else (0, 0)
        for index in itertools.count():
            at_ns = phase_ns + round(index * 1e9 / rate)
            if at_ns >= seconds * 1e9:
                return
            dice = random.Random(f"{config.seed} {stream} {index}")
            jitter_ns = round(max(-3.0, min(3.0, dice.gauss(0.0, 1.0))) * config.jitter_ms * 1e6)
            if dice.random() < lost:
                self.dropped[stream] += 1
                continue
            shows, shutters = self._shown(index, at_ns, rate, phase_ns) if thermal else (index, 0)
            shows_ns = phase_ns + round(shows * 1e9 / rate)
            stamp_ns = start_ns + at_ns + offset_ns + jitter_ns
            scene = self._scene(shows_ns)
            yield Shot(stream, index, at_ns, shows_ns, shows, stamp_ns, offset_ns, jitter_ns, scene, shows != index, shutters)

    def _shown(self, index: int, at_ns: int, rate: float, phase_ns: int) -> tuple[int, int]:
        """Index of the capture that the picture shows, and the number of shutter events that had ended by then."""
        period_ns = round(self.config.shutter_period_s * 1e9)
        if not period_ns:
            return index, 0
        event, since_ns = divmod(at_ns, period_ns)
        if event == 0 or since_ns >= round(self.config.shutter_s * 1e9):
            return index, event
        last = math.ceil((event * period_ns - phase_ns) * rate / 1e9) - 1
        return max(0, min(index, last)), event - 1

    def _scene(self, shows_ns: int) -> str:
        names = self.config.scene_names
        return names[int(shows_ns / 1e9 / self.config.scene_s) % len(names)]
