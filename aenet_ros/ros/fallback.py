"""What the node publishes while one camera fails: watches both streams and makes the picture that stands in for a fused one."""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from sensor_msgs.msg import CameraInfo

from aenet_ros.config import Config
from aenet_ros.core.errors import format_error
from aenet_ros.core.frames import Frame, FramePair, FusedFrame
from aenet_ros.health.judge import ERROR, OK, WARN, Status
from aenet_ros.health.picture_faults import picture_fault
from aenet_ros.health.streams import Mode, StreamStates
from aenet_ros.pipeline import FusionPipeline, canvas, convert
from aenet_ros.ros.outputs import Listeners, Outputs
from aenet_ros.thermal.ffc import FrozenDetector, sample

HOLD_S = 0.1
"""Time between two looks at cameras that may both be dead; so often the held frame is sent then."""

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


class Seen(NamedTuple):
    """What is known of a camera's pictures."""

    size: tuple[int, int]
    frame_id: str


class FallbackFrame(NamedTuple):
    """A frame of the camera that still works, to be published by itself; ``seen``: size and frame_id of each camera's last frame.

    With policy ``hold`` it only says when, and ``frame`` is None.
    """

    role: str
    frame: Frame | None
    seen: Mapping[str, Seen]


class FallbackPolicy:
    """Decides frame by frame whether pairs are fused or one camera stands in; made anew at each activation.

    ``see`` and ``status`` belong to the executor's thread, ``look``, ``publish``, ``shown`` and ``keep`` to the worker's.
    """

    def __init__(self) -> None:
        self.published: Counter[str] = Counter()  # by what stood in: rgb, thermal, held
        self.unpublished: Counter[str] = Counter()  # by why not
        self._watch = StreamStates(time.monotonic_ns())
        self._still = {"thermal": FrozenDetector(), "rgb": FrozenDetector()}
        self._found = {"thermal": "", "rgb": ""}  # what the latest picture looked at showed
        self._seen: dict[str, Seen] = {}
        self._held: tuple[FusedFrame, FramePair] | None = None
        self._latest_ns: int | None = None  # stamp of what was published last
        self._failure = ""

    @property
    def fuses(self) -> bool:
        """Whether pairs are to be fused."""
        return self._watch.mode.show == "fused"

    def see(self, role: str, frame: Frame, age_ns: int, config: Config) -> FallbackFrame | None:
        """A frame came ``age_ns`` after its stamp; what is to be published of it, unless it is fused.

        Goes by time and by what ``look`` found in the pictures before, so that it delays nothing.
        """
        late = 0 < config.sync.max_latency_ms * 1e6 < age_ns
        mode = self._watch.see(role, time.monotonic_ns(), "late" if late else self._found[role], config.degraded)
        self._seen[role] = Seen(frame.size, frame.frame_id)
        if mode.show != role or config.degraded.policy == "silence":
            return None
        if config.degraded.policy == "hold":
            return FallbackFrame(role, None, self._seen)
        if role == "thermal" and config.sync.clock_offset_ms:
            frame = replace(frame, stamp_ns=frame.stamp_ns - round(config.sync.clock_offset_ms * 1e6))
        return FallbackFrame(role, frame, dict(self._seen))

    def look(self, role: str, frame: Frame, at_ns: int, config: Config) -> None:
        """What is wrong with the picture of a frame that came at ``at_ns``; frames of a stream in the order they came."""
        picked = sample(frame)
        still = self._still[role]
        still.see(at_ns, picked)
        frozen = 0 < config.degraded.frozen_s * 1e9 <= still.still_ns
        self._found[role] = picture_fault(role, frame, picked, config.degraded) or ("frozen" if frozen else "")

    def keep(self, fused: FusedFrame, pair: FramePair) -> None:
        """The fused frame just published, which policy ``hold`` shows again."""
        self._held = (fused, pair)
        self._latest_ns = fused.stamp_ns

    def shown(self, stamp_ns: int, config: Config) -> bool:
        """Whether that instant is on show already: a camera's frame may stand in just before its pair is complete, or the pair be first.

        Stamps further back than a pair's two may lie apart are of a clock that was set back, and new.
        """
        back_ns = -1 if self._latest_ns is None else self._latest_ns - stamp_ns
        return 0 <= back_ns <= config.sync.slop_ms * 1e6

    def publish(
        self,
        item: FallbackFrame,
        reason: str,
        pipeline: FusionPipeline,
        outputs: Outputs,
        listeners: Listeners,
        infos: Mapping[str, CameraInfo],
    ) -> None:
        """Publish what stands in, unless there is a ``reason`` not to; counted either way. An error is counted, not raised."""
        try:
            if not reason and item.frame is not None and self.shown(item.frame.stamp_ns, pipeline.config):
                reason = "fused already"
            made = None if reason else self._render(item, pipeline, listeners.registered > 0)
            if made is None:
                self.unpublished[reason or "nothing to hold yet"] += 1
                return
            outputs.publish(*made, infos, listeners, pipeline.config.output.jpeg_quality)
            self._latest_ns = made[0].stamp_ns
            self.published["held" if item.frame is None else item.role] += 1
        except Exception as error:  # as for a pair: one bad frame must not end the stream
            self.unpublished["failed"] += 1
            self._failure = format_error(error)

    def tick(self, config: Config) -> FallbackFrame | None:
        """To be called every HOLD_S: what is to be published where neither camera sends, which is only ever the held frame."""
        mode = self._watch.tick(time.monotonic_ns(), config.degraded)
        holds = mode.show == "nothing" and config.degraded.policy == "hold" and self._held is not None
        return FallbackFrame("", None, self._seen) if holds else None

    def _render(self, item: FallbackFrame, pipeline: FusionPipeline, want_registered: bool) -> tuple[FusedFrame, FramePair] | None:
        if item.frame is None:
            return self._held
        alone = rgb_alone if item.role == "rgb" else thermal_alone
        return alone(item.frame, item.seen, pipeline, want_registered), FramePair(item.frame, item.frame)

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
        held = "the last fused frame is held" if policy == "hold" else "nothing is published"
        return ERROR, f"{'; '.join(faults)}; {held} until one is back"
    if mode.show == "fused":
        return WARN, f"{'; '.join(faults)}; neither is better, so they are fused as they are"
    return WARN, f"{'; '.join(faults)}; {ACTS[policy].format(show=mode.show)}; fusion resumes by itself"


def rgb_alone(rgb: Frame, seen: Mapping[str, Seen], pipeline: FusionPipeline, want_registered: bool = False) -> FusedFrame:
    """The rgb frame as it is, in ``output.encoding``, on the fused picture's grid; on its own where that is of a camera never seen.

    It brings no counts. Black where the rgb camera does not look.
    """
    encoding, grid = pipeline.config.output.encoding, pipeline.grid
    image, given = canvas(rgb.data, rgb.encoding, encoding)
    role, frame_id = "rgb", rgb.frame_id
    if grid.role == "rgb":
        image = grid.scale_rgb(image)
    elif "thermal" in seen:
        role, frame_id = "thermal", seen["thermal"].frame_id
        thermal_size = seen["thermal"].size
        image = pipeline.prepare_grid(thermal_size, rgb.size).rgb(image, np.zeros(thermal_size, np.float32))
    picture = np.ascontiguousarray(convert(image, given, encoding))
    return FusedFrame(rgb.stamp_ns, picture, encoding, frame_id, grid=role)


def thermal_alone(thermal: Frame, seen: Mapping[str, Seen], pipeline: FusionPipeline, want_registered: bool = False) -> FusedFrame:
    """The thermal frame as grey, on the fused picture's grid; on its own where that is of a camera never seen. Black outside."""
    encoding, grid = pipeline.config.output.encoding, pipeline.grid
    used, brightness = pipeline.prepare_thermal(thermal)
    registered = used.data if want_registered else None
    role, frame_id = "thermal", thermal.frame_id
    if grid.role == "rgb" and "rgb" in seen:
        role, (size, frame_id) = "rgb", seen["rgb"]
        warps = pipeline.prepare_grid(used.size, size)
        brightness = warps.thermal(brightness)
        if warps.weight is not None:
            brightness = brightness * warps.weight
        registered = warps.counts(used.data) if want_registered else None
    grey = (brightness * np.float32(255.0) + np.float32(0.5)).astype(np.uint8)
    return FusedFrame(thermal.stamp_ns, convert(grey, "mono8", encoding), encoding, frame_id, registered, grid=role)
