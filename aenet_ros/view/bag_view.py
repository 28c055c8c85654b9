"""A bag as a source of the page: play, pause, step and seek. Shows the recorded fused pictures, or fuses as `aenet fuse` does."""

import math
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aenet_ros.config import Config, build, flatten
from aenet_ros.core.errors import ConfigError, DeviceError, ImageError, format_error
from aenet_ros.core.frames import Array, Frame, FramePair, ThermalSource, counts_encoding
from aenet_ros.io.bag_source import BagPlayer, Event
from aenet_ros.pipeline import FusionPipeline
from aenet_ros.sync.matcher import PairMatcher
from aenet_ros.thermal.temperature import with_driver_profile
from aenet_ros.thermal.thermometer import Thermometer, as_json
from aenet_ros.view.snapshot import Snapshot, StampGrouper, ThermalRenderer
from aenet_ros.view.source import ERROR, OK, WAITING, WARN, StatusText, dynamic_options, status_row, temperature_note
from aenet_ros.view.spots import alarm_rows, recorded_source, spots_for_page

SPEEDS = (0.1, 8.0)
MAX_LAG_NS = 200_000_000
OPTIONS = (
    "sync.slop_ms",
    "sync.clock_offset_ms",
    "shutter.",
    "sensor.",
    "agc.",
    "registration.plane_distance_m",
    "output.",
    "hot_spots.",
    "alarms.",
)
EXCLUDED_OPTIONS = ("output.jpeg_quality", "output.encoding", "output.color_bar", "output.video")
RECORDED_OPTIONS = ("agc.", "output.palette", "hot_spots.", "alarms.")
"""Of a bag whose fused pictures are shown as they are: what the thermal picture and its temperatures depend on."""


class BagView:
    """See ``ViewSource``. One thread reads, waits and fuses; the methods of the server's thread change what it does next.

    ``notes``: the cameras and the profile that were chosen, and why. ``remarks``: what the reader noticed, such as damage of the bag.
    """

    kind = "bag"

    def __init__(
        self, path: Path, config: Config, thermal_topic: str = "", rgb_topic: str = "", *, fuse: bool = False, time: str = ""
    ) -> None:
        self.title = path.name
        offset_ns = config.sync.clock_offset_ns
        self._player = BagPlayer(path, thermal_topic, rgb_topic, recorded=not fuse, offset_ns=offset_ns, time=time)
        self._recorded, self.remarks = self._player.recorded, self._player.remarks
        self._config, text = with_driver_profile(config, self._player.profile)
        self.notes = [*self._player.notes, *filter(None, [text])]
        self._pipeline: FusionPipeline | None = None
        self._changed = threading.Condition()
        self._watched, self._playing, self._closed = False, True, False
        self._speed = 1.0
        self._seek_ns: int | None = 0
        self._at_ns = 0
        self._ended = self._started = False
        self._single_step = False  # show the next picture at once, even while paused
        self._clock: tuple[int, int] | None = None  # the same instant as monotonic time and as time in the bag, ns
        self._last_pair: FramePair | None = None  # fused again when an option changes
        self._last_group: tuple[int, dict[str, Frame]] | None = None  # the same of recorded pictures
        self._fuse_again = False
        self._fatal = ""
        self._lost, self._last_loss = 0, ""
        self._timings_ms: dict[str, float] = {}
        self._statuses: list[dict[str, Any]] = []
        self._alarms: list[dict[str, Any]] = []
        self._thermometer = Thermometer()
        self._wants_spots = False
        self._thread = threading.Thread(target=self._run, name="bag", daemon=True)

    # Called by the server's thread.

    def start(self, on_snapshot: Callable[[Snapshot], None]) -> None:
        """Start the thread."""
        self._on_snapshot = on_snapshot
        self._thread.start()

    def set_streams(self, streams: frozenset[str]) -> None:
        """Pause while no page needs a stream."""
        with self._changed:
            self._watched = bool(streams)
            self._fuse_again |= "spots" in streams and not self._wants_spots
            self._wants_spots = "spots" in streams
            self._changed.notify()

    def options(self) -> list[str]:
        """The options that change the pictures or what is measured."""
        chosen = RECORDED_OPTIONS if self._recorded else OPTIONS
        return [name for name in dynamic_options() if name.startswith(chosen) and not name.startswith(EXCLUDED_OPTIONS)]

    async def set_option(self, name: str, value: Any) -> str:
        """Apply at once and fuse the current picture again. Returns why the value was refused, or an empty text."""
        try:
            config, _ = with_driver_profile(build({name: value}, self._config), self._player.profile)
        except ConfigError as error:
            return str(error)
        with self._changed:
            self._config, self._fuse_again = config, True
            self._changed.notify()
        return ""

    def control(self, action: str, value: float = math.nan) -> None:
        """See ``ViewSource``. A NaN is ignored where a value is needed."""
        with self._changed:
            if action == "play":
                self._playing = True
                if self._ended:
                    self._seek_ns = 0
            elif action == "pause":
                self._playing = False
            elif action == "step":
                self._playing, self._single_step = False, True
            elif action == "seek" and not math.isnan(value):
                self._seek_ns = round(min(max(value * 1e9, 0.0), self._player.duration_ns))
            elif action == "speed" and SPEEDS[0] <= value <= SPEEDS[1]:
                self._speed, self._clock = value, None
            self._changed.notify()

    def state(self) -> dict[str, Any]:
        """See ``ViewSource``; ``bag`` holds the state of the player."""
        notes = [{"name": "cameras", "level": OK, "message": text, "values": {}} for text in self.notes]
        remarks = [{"name": "bag", "level": WARN, "message": text, "values": {}} for text in dict.fromkeys(self.remarks)]
        return {
            **self._status_text()._asdict(),
            "timings_ms": self._timings_ms,
            "statuses": self._statuses + notes + remarks,
            "values": flatten(self._config),
            "options_note": "The recorded fused pictures are shown as they are. Start with --fuse to fuse again." if self._recorded else "",
            "temperature": temperature_note(self._config, known=not self._recorded),
            "alarms": self._alarms,
            "topics": self._player.topics,
            "bag": {
                "duration_s": self._player.duration_ns * 1e-9,
                "playing": self._playing and not self._ended,
                "ended": self._ended,
                "speed": self._speed,
            },
        }

    def close(self) -> None:
        """Stop the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(5.0)

    def _status_text(self) -> StatusText:
        if self._fatal:
            return StatusText(ERROR, self._fatal)
        if self._lost:
            return StatusText(WARN, f"{self._lost} frames cannot be shown; the last one: {self._last_loss}")
        if not self._started and not self._ended:
            loading = self._pipeline is None and not self._recorded
            return StatusText(WAITING, "loading the network" if loading else "waiting for the first picture")
        if not self._started:
            return StatusText(WARN, "the bag has no picture to show", "check the topics and `sync.slop_ms`")
        if reasons := [row for row in self._alarms if row["level"] != OK]:
            return StatusText(max(row["level"] for row in reasons), "; ".join(row["message"] for row in reasons))
        activity = "end of the bag" if self._ended else "playing" if self._playing else "paused"
        return StatusText(OK, f"{activity}, {'recorded fused pictures' if self._recorded else 'fused by this viewer'}")

    # In the bag's thread.

    def _run(self) -> None:
        try:
            if not self._recorded:
                self._pipeline = FusionPipeline(self._config)
            with self._player.open() as reader:
                while not self._closed:
                    self._play(reader)
        except Exception as error:  # the page shows it; the thread has no other reader
            self._fatal = format_error(error)
        finally:
            if self._pipeline is not None:
                self._pipeline.close()

    def _play(self, reader: Any) -> None:
        """Play from the place of the last seek to the next seek, or to the end. All earlier frames are forgotten."""
        with self._changed:
            self._at_ns, self._seek_ns = self._seek_ns or 0, None
            self._ended, self._single_step, self._clock = False, True, None
        sync = self._config.sync
        self._matcher = PairMatcher(sync.slop_ns, sync.clock_offset_ns, sync.queue_size)
        self._grouper: StampGrouper[Frame] = StampGrouper()
        self._last_pair, self._last_group, self._statuses, self._alarms = None, None, [], []
        self._renderer, self._measured_renderer = ThermalRenderer(), ThermalRenderer()
        self._thermometer.reset_temporal()
        if self._pipeline is not None:
            self._pipeline.reset_temporal()
        for event in self._player.events(reader, self._at_ns):
            if not self._wait_for(event.at_ns):
                return
            self._at_ns = event.at_ns
            self._handle(event)
        for pair in self._matcher.flush():
            self._fuse(pair)
        self._ended = True
        self._wait_for(None)

    def _wait_for(self, at_ns: int | None) -> bool:
        """Wait until ``at_ns`` is due; None: the end, after which nothing is due. False: the bag was closed, or a seek is pending."""
        while True:
            with self._changed:
                if self._closed or self._seek_ns is not None:
                    return False
                fuse_again, self._fuse_again = self._fuse_again, False
                if not fuse_again:
                    wait_s = None
                    if at_ns is None or not self._watched or not (self._playing or self._single_step):
                        self._clock = None
                    else:
                        wait_s = self._due_in_s(at_ns)
                        if wait_s <= 0 or self._single_step:
                            return True
                    self._changed.wait(wait_s)
            if fuse_again:
                self._apply_options()

    def _due_in_s(self, at_ns: int) -> float:
        """Seconds until ``at_ns`` is due, negative if it is late. If fusing is slower than the recording, the bag plays slower."""
        now_ns = time.monotonic_ns()
        if self._clock is None:
            self._clock = (now_ns, at_ns)
        started_ns, first_ns = self._clock
        wait_ns = started_ns + (at_ns - first_ns) / self._speed - now_ns
        if wait_ns < -MAX_LAG_NS:
            self._clock = None
        return wait_ns * 1e-9

    def _handle(self, event: Event) -> None:
        try:
            if event.stream == "diagnostics":
                self._statuses = [status_row(status) for status in event.message().status]
                return
            for frame in event.frames():
                self._take(event, frame)
        except ImageError as error:
            self._count_loss(error)

    def _take(self, event: Event, frame: Frame) -> None:
        if self._recorded:
            if group := self._grouper.add(event.stream, frame.stamp_ns, frame, event.at_ns):
                self._show_recorded(frame.stamp_ns, group)
            return
        for pair in self._matcher.push_thermal(frame) if event.stream == "thermal" else self._matcher.push_rgb(frame):
            self._fuse(pair)

    def _apply_options(self) -> None:
        sync = self._config.sync
        self._thermometer.measure_again()
        self._matcher.slop_ns, self._matcher.clock_offset_ns = sync.slop_ns, sync.clock_offset_ns
        if self._last_pair is not None:
            self._fuse(self._last_pair)
        elif self._last_group is not None:
            self._show_recorded(*self._last_group)

    def _show_recorded(self, stamp_ns: int, group: dict[str, Frame]) -> None:
        self._last_group = (stamp_ns, group)
        frames = dict(group)
        registered, camera = frames.pop("registered", None), frames.pop("thermal", None)
        thermal = registered or camera
        if thermal is None:
            self._emit(stamp_ns, frames, None, None)
            return
        frame = Frame(thermal.stamp_ns, thermal.data, counts_encoding(thermal.data))
        self._emit(stamp_ns, frames, thermal.data, recorded_source(frame, self._measured_renderer, self._config))

    def _fuse(self, pair: FramePair) -> None:
        assert self._pipeline is not None
        self._last_pair = pair
        try:
            fused = self._pipeline.process(pair, self._config, want_registered=True)
        except (ImageError, DeviceError) as error:
            self._count_loss(error)
            return
        self._timings_ms = {stage: ns * 1e-6 for stage, ns in fused.timings_ns.items()}
        picture = Frame(fused.stamp_ns, fused.image, fused.encoding)
        self._emit(fused.stamp_ns, {"rgb": pair.rgb, "fused": picture}, fused.thermal_registered, fused.thermal)

    def _measure(self, source: ThermalSource | None) -> dict[str, Any] | None:
        """Find the spots if a page marks them, and watch the regions of ``alarms.regions``; the spots for the page."""
        if source is None or not (self._wants_spots or self._config.alarms.regions):
            self._alarms = []
            return None
        measured = self._thermometer.measure(source, self._config, self._wants_spots) or self._thermometer.last
        assert measured is not None  # the first frame is measured
        report = as_json(measured, source)
        self._alarms = alarm_rows(report)
        return spots_for_page(report)

    def _emit(self, stamp_ns: int, frames: dict[str, Frame], counts: Array | None, source: ThermalSource | None) -> None:
        """Deliver a snapshot. The encoder's thread renders the thermal picture, if a page shows it."""
        config, renderer, spots = self._config, self._renderer, self._measure(source)
        pictures: dict[str, Frame | Callable[[], Frame]] = {**frames}
        if counts is not None:
            pictures["thermal"] = lambda: renderer.render(counts, stamp_ns, config)
        self._started, self._single_step = True, False
        self._on_snapshot(Snapshot(stamp_ns, pictures, None if counts is None else lambda: counts, config, self._at_ns, lambda: spots))

    def _count_loss(self, error: Exception) -> None:
        self._lost, self._last_loss = self._lost + 1, str(error)
