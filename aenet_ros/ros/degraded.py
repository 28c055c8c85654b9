"""What the node publishes while one camera fails: watches both streams and makes the picture that stands in for a fused one."""

import time
from collections import Counter
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from sensor_msgs.msg import CameraInfo

from aenet_ros.config import Config
from aenet_ros.degraded import Mode, StreamWatch
from aenet_ros.errors import AenetError
from aenet_ros.frames import Frame, FramePair, FusedFrame
from aenet_ros.imaging.faults import picture_fault
from aenet_ros.imaging.shutter import StillWatch, sample
from aenet_ros.pipeline import FusionPipeline, canvas, convert
from aenet_ros.ros.health import ERROR, OK, WARN, Status
from aenet_ros.ros.outputs import Listeners, Outputs

REMEDIES = {
    "silent": "sends nothing: check camera, cable and driver",
    "late": "sends frames older than sync.max_latency_ms: check the network and the clocks",
    "frozen": "repeats one picture: restart its driver",
    "black": "sends a black picture: check lens cap, exposure and light",
    "saturated": "sends a picture that is all at full scale: check exposure, gain and range",
}
ACTS = {
    "passthrough": "the {show} picture is passed through",
    "hold": "the last fused frame is held",
    "silence": "nothing is published",
}


class StandIn(NamedTuple):
    """A frame of the camera that still works, to be published by itself; ``grid`` is the last rgb frame, if one was seen."""

    role: str
    frame: Frame
    policy: str
    grid: tuple[tuple[int, int], str] | None


class StreamGuard:
    """Decides frame by frame whether pairs are fused or one camera stands in; made anew at each activation.

    ``see`` and ``status`` belong to the executor's thread, ``publish`` and ``keep`` to the worker's.
    """

    def __init__(self) -> None:
        self.published: Counter[str] = Counter()  # by what stood in: rgb, thermal, held
        self.unpublished: Counter[str] = Counter()  # by why not
        self._watch = StreamWatch(time.monotonic_ns())
        self._still = {"thermal": StillWatch(), "rgb": StillWatch()}
        self._grid: tuple[tuple[int, int], str] | None = None
        self._held: tuple[FusedFrame, FramePair] | None = None
        self._failure = ""

    @property
    def fuses(self) -> bool:
        """Whether pairs are to be fused."""
        return self._watch.mode.show == "fused"

    def see(self, role: str, frame: Frame, age_ns: int, config: Config) -> StandIn | None:
        """A frame came ``age_ns`` after its stamp; what is to be published of it, unless it is fused."""
        now = time.monotonic_ns()
        mode = self._watch.see(role, now, self._fault(role, frame, age_ns, now, config), config.degraded)
        if role == "rgb":
            self._grid = (frame.size, frame.frame_id)
        if mode.show != role or config.degraded.policy == "silence":
            return None
        if role == "thermal" and config.sync.clock_offset_ms:
            frame = replace(frame, stamp_ns=frame.stamp_ns - round(config.sync.clock_offset_ms * 1e6))
        return StandIn(role, frame, config.degraded.policy, self._grid)

    def _fault(self, role: str, frame: Frame, age_ns: int, now: int, config: Config) -> str:
        picked = sample(frame)
        still = self._still[role]
        still.see(now, picked)
        if config.sync.max_latency_ms and age_ns > config.sync.max_latency_ms * 1e6:
            return "late"
        frozen = 0 < config.degraded.frozen_s * 1e9 <= still.still_ns
        return picture_fault(role, frame, picked, config.degraded) or ("frozen" if frozen else "")

    def keep(self, fused: FusedFrame, pair: FramePair) -> None:
        """The frame that policy ``hold`` shows again."""
        self._held = (fused, pair)

    def publish(
        self, item: StandIn, reason: str, pipeline: FusionPipeline, outputs: Outputs, listeners: Listeners, camera_info: CameraInfo | None
    ) -> None:
        """Publish what stands in, unless there is a ``reason`` not to; counted either way. An error is counted, not raised."""
        try:
            made = None if reason else self._render(item, pipeline, listeners.registered > 0)
            if made is None:
                self.unpublished[reason or "nothing to hold yet"] += 1
                return
            outputs.publish(*made, camera_info, listeners, pipeline.config.output.jpeg_quality)
            self.published["held" if item.policy == "hold" else item.role] += 1
        except Exception as error:  # as for a pair: one bad frame must not end the stream
            self.unpublished["failed"] += 1
            self._failure = str(error) if isinstance(error, AenetError) else f"{type(error).__name__}: {error}"

    def _render(self, item: StandIn, pipeline: FusionPipeline, want_registered: bool) -> tuple[FusedFrame, FramePair] | None:
        if item.policy == "hold":
            return self._held
        pair = FramePair(item.frame, item.frame)
        if item.role == "rgb":
            return rgb_alone(item.frame, pipeline.config.output.encoding), pair
        return thermal_alone(item.frame, item.grid, pipeline, want_registered), pair

    def status(self, config: Config) -> Status:
        """The state in words; to be called each diagnostics period, since it also notices that nothing comes any more."""
        now = time.monotonic_ns()
        mode = self._watch.tick(now, config.degraded)
        values = {
            "policy": config.degraded.policy,
            "shows": mode.show,
            "thermal": mode.thermal or "well",
            "rgb": mode.rgb or "well",
            "for [s]": f"{(now - self._watch.changed_ns) / 1e9:.1f}",
            "times degraded": str(self._watch.degradations),
            **{f"published: {what}": str(count) for what, count in sorted(self.published.items())},
            **{f"not published: {why}": str(count) for why, count in sorted(self.unpublished.items())},
        }
        if self._failure:
            values["last failure"] = self._failure
        return Status("degraded", *words(mode, config.degraded.policy), values)


def words(mode: Mode, policy: str) -> tuple[int, str]:
    """Level and sentence of a mode."""
    faults = [f"the {role} camera {REMEDIES[fault]}" for role, fault in (("thermal", mode.thermal), ("rgb", mode.rgb)) if fault]
    if not faults:
        return OK, "both cameras are well"
    if mode.show == "nothing":
        return ERROR, f"{'; '.join(faults)}; nothing is published until one is back"
    if mode.show == "fused":
        return WARN, f"{'; '.join(faults)}; neither is better, so they are fused as they are"
    return WARN, f"{'; '.join(faults)}; {ACTS[policy].format(show=mode.show)}; fusion resumes by itself"


def rgb_alone(rgb: Frame, encoding: str) -> FusedFrame:
    """The rgb frame as it is, in ``output.encoding``."""
    image, given = canvas(rgb.data, rgb.encoding, encoding)
    return FusedFrame(rgb.stamp_ns, np.ascontiguousarray(convert(image, given, encoding)), encoding, rgb.frame_id)


def thermal_alone(
    thermal: Frame, grid: tuple[tuple[int, int], str] | None, pipeline: FusionPipeline, want_registered: bool = False
) -> FusedFrame:
    """The thermal frame as grey, on the grid (size, frame_id) of the last rgb frame; on its own where none was seen. Black outside."""
    encoding = pipeline.config.output.encoding
    size, frame_id = grid or (thermal.size, thermal.frame_id)
    brightness = pipeline.brightness(thermal)
    registered = thermal.data if want_registered else None
    if grid is not None:
        brightness = pipeline.registration.warp(brightness, size)
        weight = pipeline.registration.weight(thermal.size, size)
        if weight is not None:
            brightness = brightness * weight
        registered = pipeline.registration.warp_counts(thermal.data, size) if want_registered else None
    grey = (brightness * np.float32(255.0) + np.float32(0.5)).astype(np.uint8)
    return FusedFrame(thermal.stamp_ns, convert(grey, "mono8", encoding), encoding, frame_id, registered)
