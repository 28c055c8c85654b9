"""A bag as a source for the page: play, pause and seek, fusing as `aenet fuse` does or showing what was recorded."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from aenet_ros.config import Config, build, flatten
from aenet_ros.core.errors import AenetError, ConfigError, ImageError
from aenet_ros.core.frames import Frame, FramePair, FusedFrame
from aenet_ros.io.bag_source import BagPlayer, Event
from aenet_ros.pipeline import FusionPipeline
from aenet_ros.sync.matcher import PairMatcher
from aenet_ros.view.snapshot import Moment, ThermalLook
from aenet_ros.view.source import ERROR, OK, WARN, dynamic_options
from aenet_ros.view.stamp_grouper import StampGrouper
from aenet_ros.view.status_text import temperature_note

SPEEDS = (0.1, 8.0)
LATE_NS = 200_000_000
OPTIONS = ("sync.slop_ms", "sync.clock_offset_ms", "shutter.", "sensor.", "agc.", "registration.plane_distance_m", "output.")
NOT_HERE = ("output.jpeg_quality", "output.encoding")


class _Due(NamedTuple):
    """From when (of the monotonic clock), from what place, and how fast it plays."""

    clock_ns: int
    at_ns: int
    speed: float


class BagView:
    """See ``Source``. One thread reads, fuses and paces; commands change what it does next."""

    kind = "bag"

    def __init__(self, path: Path, config: Config, thermal_topic: str = "", rgb_topic: str = "", *, fuse: bool = False) -> None:
        self.title = path.name
        self._player = BagPlayer(path, thermal_topic, rgb_topic, recorded=not fuse)
        self._config = config
        self._pipeline: FusionPipeline | None = None
        self._changed = threading.Condition()
        self._watched, self._playing, self._closed = False, True, False
        self._speed = 1.0
        self._seek_ns: int | None = 0
        self._at_ns = 0
        self._ended = False
        self._wanted_one = False
        self._due: _Due | None = None
        self._again: FramePair | None = None  # the pair that is shown, to be fused anew under changed options
        self._refuse = False
        self._problem = ""
        self._lost = 0
        self._last_lost = ""
        self._timings_ms: dict[str, float] = {}
        self._statuses: list[dict[str, Any]] = []
        self._look, self._look_again = ThermalLook(), False
        self._show: Callable[[Moment], None] = lambda _moment: None
        self._thread = threading.Thread(target=self._run, name="bag", daemon=True)

    @property
    def remarks(self) -> list[str]:
        """Sentences on the bag and on what of it is shown."""
        return self._player.remarks

    # What the server calls.

    def start(self, show: Callable[[Moment], None]) -> None:
        """Begin to read."""
        self._show = show
        self._thread.start()

    def want(self, streams: frozenset[str]) -> None:
        """Nothing is played while nobody looks."""
        with self._changed:
            self._watched = bool(streams)
            self._changed.notify()

    def options(self) -> list[str]:
        """Those that have to do with pictures; none where what was recorded is shown."""
        if self._player.recorded:
            return []
        return [name for name in dynamic_options() if name.startswith(OPTIONS) and name not in NOT_HERE]

    def set_option(self, name: str, value: Any) -> Awaitable[str]:
        """Taken at once; the picture that is shown is fused anew."""
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        try:
            config = build({name: value}, self._config)
        except ConfigError as error:
            answer.set_result(str(error))
            return answer
        with self._changed:
            self._config, self._refuse = config, True
            self._changed.notify()
        answer.set_result("")
        return answer

    def command(self, words: Mapping[str, Any]) -> None:
        """``play``, ``pause``; ``seek`` with ``at_s``; ``step`` to the next picture; ``speed`` with ``factor``."""
        kind = words.get("type")
        number = words.get("at_s", words.get("factor", 0.0))
        number = float(number) if isinstance(number, (int, float)) and not isinstance(number, bool) else 0.0
        with self._changed:
            if kind == "play":
                self._playing = True
                if self._ended:
                    self._seek_ns = 0
            elif kind == "pause":
                self._playing = False
            elif kind == "step":
                self._playing, self._wanted_one = False, True
            elif kind == "seek" and number == number:
                self._seek_ns = int(min(max(number * 1e9, 0.0), self._player.duration_ns))
            elif kind == "speed" and SPEEDS[0] <= number <= SPEEDS[1]:
                self._speed = number
            self._changed.notify()

    def state(self) -> dict[str, Any]:
        """Where it is, how fast, and what is wrong."""
        level, headline, remedy = self._words()
        return {
            "level": level,
            "headline": headline,
            "remedy": remedy,
            "timings_ms": self._timings_ms,
            "statuses": self._statuses + self._remarks(),
            "values": flatten(self._config),
            "options_note": "the recorded pictures are shown as they are; start with --fuse to fuse anew" if self._player.recorded else "",
            "temperature": temperature_note(self._config.agc, known=not self._player.recorded),
            "topics": self._player.topics,
            "bag": {
                "duration_s": self._player.duration_ns * 1e-9,
                "playing": self._playing and not self._ended,
                "ended": self._ended,
                "speed": self._speed,
                "at_s": self._at_ns * 1e-9,
                "fused_here": not self._player.recorded,
            },
        }

    def close(self) -> None:
        """End the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread.ident is not None:
            self._thread.join(5.0)

    def _words(self) -> tuple[int, str, str]:
        if self._problem:
            return ERROR, self._problem, ""
        if self._pipeline is None and not self._player.recorded:
            return OK, "loading the network", ""
        if self._lost:
            return WARN, f"{self._lost} frames could not be shown, the last because: {self._last_lost}", ""
        doing = "at its end" if self._ended else "playing" if self._playing else "paused"
        return OK, f"{doing}, {'recorded pictures' if self._player.recorded else 'fused here'}", ""

    def _remarks(self) -> list[dict[str, Any]]:
        return [{"name": "bag", "level": WARN, "message": text, "values": {}} for text in dict.fromkeys(self._player.remarks)]

    # The thread.

    def _run(self) -> None:
        try:
            if not self._player.recorded:
                self._pipeline = FusionPipeline(self._config)
            with self._player.open() as reader:
                while not self._closed:
                    self._play(reader)
        except AenetError as error:
            self._problem = str(error)
        except Exception as error:  # a page that says why is better than one that stands still
            self._problem = f"{type(error).__name__}: {error}"
        finally:
            if self._pipeline is not None:
                self._pipeline.close()

    def _play(self, reader: Any) -> None:
        """From where it was last sought to until the next seek, or the end."""
        begin_ns, self._seek_ns = self._seek_ns or 0, None
        self._at_ns, self._ended, self._again, self._due = begin_ns, False, None, None
        self._statuses = []
        self._forget()
        self._wanted_one = True  # where it was sought to is shown even while it is paused
        for event in self._player.events(reader, begin_ns):
            if not self._wait_for(event.at_ns):
                return
            self._at_ns = event.at_ns
            self._take(event)
        if not self._player.recorded:
            for pair in self._matcher.flush():
                self._fuse(pair)
        self._ended = True
        self._wait_for(None)

    def _wait_for(self, at_ns: int | None) -> bool:
        """Until that place is due; False where something else is wanted. None: the end, after which nothing is due."""
        while True:
            with self._changed:
                if self._closed or self._seek_ns is not None:
                    return False
                if self._refuse:
                    self._refuse = False
                elif at_ns is None or not self._watched or not (self._playing or self._wanted_one):
                    self._due = None
                    self._changed.wait()
                    continue
                else:
                    wait_s = self._wait_s(at_ns)
                    if wait_s <= 0 or self._wanted_one:
                        return True
                    self._changed.wait(wait_s)
                    continue
            self._fuse_again()

    def _wait_s(self, at_ns: int) -> float:
        """Until ``at_ns`` of the bag is due."""
        now_ns = time.monotonic_ns()
        if self._due is None or self._due.speed != self._speed:
            self._due = _Due(now_ns, at_ns, self._speed)
        wait_ns = self._due.clock_ns + (at_ns - self._due.at_ns) / self._speed - now_ns
        if wait_ns < -LATE_NS:
            self._due = None  # a machine that fuses slower than the cameras took pictures plays slower
        return wait_ns * 1e-9

    def _forget(self) -> None:
        """Time jumps: what was learnt from earlier frames does not hold."""
        sync = self._config.sync
        self._matcher = PairMatcher(round(sync.slop_ms * 1e6), round(sync.clock_offset_ms * 1e6), sync.queue_size)
        self._assembler: StampGrouper[Callable[[], Frame]] = StampGrouper()
        self._look_again = True
        if self._pipeline is not None:
            self._pipeline.reset_temporal()

    def _take(self, event: Event) -> None:
        try:
            if event.stream == "diagnostics":
                self._statuses = _statuses(event.message())
                return
            frame = event.frame()
            if self._player.recorded:
                found = self._assembler.add(event.stream, frame.stamp_ns, lambda: frame, event.at_ns)
                if found:
                    self._emit(self._recorded(frame.stamp_ns, found))
                return
            for pair in self._matcher.push_thermal(frame) if event.stream == "thermal" else self._matcher.push_rgb(frame):
                self._fuse(pair)
        except ImageError as error:
            self._lose(error)

    def _lose(self, error: ImageError) -> None:
        self._lost, self._last_lost = self._lost + 1, str(error)

    def _fuse_again(self) -> None:
        sync = self._config.sync
        self._matcher.slop_ns, self._matcher.clock_offset_ns = round(sync.slop_ms * 1e6), round(sync.clock_offset_ms * 1e6)
        if self._again is not None:
            self._fuse(self._again)

    def _fuse(self, pair: FramePair) -> None:
        assert self._pipeline is not None
        self._again = pair
        try:
            fused = self._pipeline.process(pair, self._config, want_registered=True)
        except ImageError as error:
            self._lose(error)
            return
        self._timings_ms = {stage: ns * 1e-6 for stage, ns in fused.timings_ns.items()}
        self._emit(self._fused(pair, fused))

    def _emit(self, moment: Moment) -> None:
        self._wanted_one = False
        self._show(moment)

    def _fused(self, pair: FramePair, fused: FusedFrame) -> Moment:
        counts = fused.thermal_registered
        assert counts is not None
        pictures = {
            "rgb": lambda: pair.rgb,
            "thermal": lambda: self._grey(counts, fused.stamp_ns),
            "fused": lambda: Frame(fused.stamp_ns, fused.image, fused.encoding),
        }
        return Moment(fused.stamp_ns, pictures, lambda: counts, self._config.agc, self._at_ns)

    def _recorded(self, stamp_ns: int, found: dict[str, Callable[[], Frame]]) -> Moment:
        pictures: dict[str, Callable[[], Frame]] = {name: frame for name, frame in found.items() if name in ("rgb", "fused")}
        thermal = found.get("registered") or found.get("thermal")
        if thermal is None:
            return Moment(stamp_ns, pictures, at_ns=self._at_ns)
        counts = thermal().data
        pictures["thermal"] = lambda: self._grey(counts, stamp_ns)
        return Moment(stamp_ns, pictures, lambda: counts, self._config.agc, self._at_ns)

    def _grey(self, counts: Any, stamp_ns: int) -> Frame:
        """In the encoder's thread."""
        if self._look_again:
            self._look, self._look_again = ThermalLook(), False
        return self._look.frame(counts, stamp_ns, self._config.agc)


def _statuses(message: Any) -> list[dict[str, Any]]:
    """Recorded diagnostics, as a page is told them."""
    return [
        {
            "name": status.name.rpartition(": ")[2] or status.name,
            "level": int(status.level),
            "message": status.message,
            "values": {item.key: item.value for item in status.values},
        }
        for status in message.status
    ]
