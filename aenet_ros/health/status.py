"""Counters of the node, a line of diagnostics, and the state of the pipeline that diagnostics are made of.

Counters are written by two threads and read by diagnostics.
"""

import math
import statistics
import threading
import time
from collections import Counter, deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from aenet_ros.core.errors import format_error
from aenet_ros.core.frames import Frame, FusedFrame
from aenet_ros.thermal.agc import Gain
from aenet_ros.thermal.ffc import FfcCounts
from aenet_ros.thermal.sensor_correction import SensorMarks

OK, WARN, ERROR = 0, 1, 2


class Code(Enum):
    """What a status says, for programs: names do not change from release to release, messages may. Remedies: docs/troubleshooting.md."""

    FUSION_OK = "pairs are fused"
    FUSION_WAITING = "no pair has arrived yet"
    FUSION_IDLE = "no fused topic has a subscriber"
    FUSION_DISABLED = "fusion is switched off"
    FUSION_INACTIVE = "the lifecycle node is not active"
    FUSION_NOT_CONFIGURED = "the node refuses its configuration"
    FUSION_UNKNOWN_PARAMETERS = "parameters were given that do not exist"
    FUSION_NO_THERMAL = "no thermal frame can be used"
    FUSION_NO_RGB = "no rgb frame can be used"
    FUSION_NO_CAMERAS = "no frame of either camera can be used"
    FUSION_CAMERAS_UNCERTAIN = "the user has to choose the cameras"
    FUSION_NO_PAIRS = "both cameras send, but no frames can be paired"
    FUSION_NOTHING_FUSED = "pairs arrive, but none is fused"
    FUSION_DEGRADED = "one camera has a fault"
    FUSION_FAILS = "pairs cannot be fused"
    FUSION_HANGS = "the fusion thread hangs"
    FUSION_INTERNAL_ERROR = "frames failed by an error of the node"
    FUSION_SLOW = "the fused rate is below its limit"
    FUSION_LATE = "the latency is above its limit"
    FUSION_OTHER_CLOCK = "the stamps are of another clock than this machine's"
    CAMERAS_FOUND = "the search found both cameras"
    CAMERAS_UNCERTAIN = "the search leaves a choice of cameras"
    INPUT_OK = "frames arrive"
    INPUT_WAITING = "the node waits for the first frame"
    INPUT_NO_PUBLISHER = "the topic has no publisher"
    INPUT_UNCERTAIN = "the search does not know the topic"
    INPUT_OTHER_TYPE = "the topic has another type"
    INPUT_QOS = "the publisher's QoS does not fit"
    INPUT_NO_FRAMES = "there is a publisher, but no frame has arrived"
    INPUT_STOPPED = "frames arrived, and then stopped"
    INPUT_UNDECODABLE = "no frame can be decoded"
    INPUT_SOME_UNDECODABLE = "some frames cannot be decoded"
    INPUT_LOSES_FRAMES = "frames are lost before the node"
    PAIRING_OK = "frames are paired"
    PAIRING_WAITING = "one stream is missing"
    PAIRING_ZERO_STAMPS = "frames have no stamp"
    PAIRING_OTHER_CLOCKS = "the clocks of the cameras differ"
    PAIRING_NOT_TRIGGERED = "the cameras' stamps never come near each other"
    MODEL_OK = "the model runs as asked for"
    MODEL_MISSING = "no model is loaded"
    MODEL_FALLBACK = "the model runs on another device or in another precision than asked for"
    DEGRADED_NONE = "both cameras work"
    DEGRADED_THERMAL = "the thermal camera has a fault"
    DEGRADED_RGB = "the rgb camera has a fault"
    DEGRADED_BOTH = "both cameras have a fault"
    OFFSET_OK = "the clock offset fits the motion in both streams"
    OFFSET_UNKNOWN = "there is no estimate of the clock offset"
    OFFSET_WRONG = "the clock offset is not the one applied"
    OFFSET_REVERTED = "an applied clock offset was wrong and is set back"
    QUALITY_OK = "the fused pictures are good"
    QUALITY_SHUTTER = "the thermal camera's shutter is closed"
    QUALITY_STAMPS_APART = "the stamps of pairs are far apart"
    QUALITY_SATURATED = "much of the fused picture is saturated"
    QUALITY_LITTLE_CONTENT = "the fused picture has little content"
    BUDGET_OK = "the network works at full size"
    BUDGET_REDUCED = "the network works at a reduced size"
    BUDGET_EXCEEDED = "no size of the network meets the time budget"
    REGISTRATION_OK = "thermal edges lie on rgb edges, or their distance is not known yet"
    REGISTRATION_DRIFT = "thermal edges lie beside the rgb edges"
    REGISTRATION_DOUBTFUL = "the registration lacks something, or cannot be checked"
    TEMPERATURE_OK = "temperatures are measured, or nothing asks for them"
    TEMPERATURE_UNKNOWN = "the thermal frames have no scale to degrees"
    TEMPERATURE_FAILS = "temperatures cannot be measured"
    ALARMS_OK = "all watched regions are within their levels, or none has been measured yet"
    ALARMS_RAISED = "a watched region is beyond its levels"
    ALARMS_UNWATCHED = "the regions cannot be watched"
    ALARMS_NO_FRAMES = "no region is watched, since no thermal frame arrives"
    VIDEO_OK = "pictures are encoded as video, or no video topic has a subscriber"
    VIDEO_ABSENT = "there are no video topics, since their message packages are not installed"
    VIDEO_SLOW = "the encoder is slower than the pictures"
    VIDEO_FAILS = "pictures cannot be encoded as video"
    ANALYSIS_OK = "background analysis works"
    ANALYSIS_FAILS = "background analysis fails"


WINDOW = 90  # frames in rates and percentiles: three seconds at 30 Hz
PAUSE_NS = 1_000_000_000
RECENT_NS = 5_000_000_000  # age of an error that is still shown
RATE_SPAN_NS = 3_000_000_000
MIN_GAPS = 20
MIN_PERIODS = 5  # between pairs, before their period is known
IRREGULAR = 0.2  # spread of the period, relative, above which no loss is computed


class Status(NamedTuple):
    """One line of diagnostics: ``level`` is OK, WARN or ERROR; ``values`` are keys and values as shown."""

    name: str
    level: int
    code: Code
    message: str
    values: dict[str, str]


class Failures:
    """Errors of a part that goes on after each of them: their ``number``, and the text of the ``last`` one."""

    def __init__(self) -> None:
        self.number, self.last, self._at_ns = 0, "", 0

    def count(self, error: Exception | str) -> bool:
        """Count an error; True where its text is another one than the last."""
        text = error if isinstance(error, str) else format_error(error)
        new = text != self.last
        self.number, self.last, self._at_ns = self.number + 1, text, time.monotonic_ns()
        return new

    @property
    def recent(self) -> bool:
        """Whether the last one is a few seconds old at most."""
        return self._at_ns != 0 and time.monotonic_ns() - self._at_ns < RECENT_NS


@dataclass(frozen=True)
class ResolutionStatus:
    """Size of the network's picture. ``budget_ms``: 0 for none; ``pair_ms``: median time of a pair; ``exceeded``: no smaller size helps."""

    scale: float = 1.0
    budget_ms: float = 0.0
    pair_ms: float = 0.0
    exceeded: bool = False
    steps_down: int = 0
    steps_up: int = 0


@dataclass(frozen=True)
class PipelineStatus:
    """A snapshot of the pipeline's state. ``fallback``: why the device or precision is not the one asked for, or "".

    ``flat_frames``: pairs whose thermal frame had no contrast, so that the fused picture is the rgb frame.
    """

    device: str
    precision: str
    fallback: str
    weights_sha256: str
    agc_range: tuple[float, float]
    agc_resets: int
    shutter_closed: bool
    ffc: FfcCounts = field(default_factory=FfcCounts)
    sensor: SensorMarks = field(default_factory=lambda: SensorMarks(0, 0.0))
    agc_gain: Gain = field(default_factory=lambda: Gain(0.0, 1.0))
    registration_fallback: str = ""
    backend: str = "torch"
    backend_reason: str = ""
    resolution: ResolutionStatus = ResolutionStatus()
    flat_frames: int = 0


@dataclass
class StreamStats:
    """One input stream. Arrival times are of the monotonic clock, stamps are the messages' own."""

    received: int = 0
    rejected: Failures = field(default_factory=Failures)  # messages that cannot be decoded
    resumed_at_ns: int = 0  # first frame after a pause, or ever
    size: tuple[int, int] = (0, 0)
    encoding: str = ""
    size_changes: int = 0
    arrivals_ns: deque[int] = field(default_factory=lambda: deque(maxlen=WINDOW))
    lags_ns: deque[int] = field(default_factory=lambda: deque(maxlen=WINDOW // 3))
    stamps_ns: deque[int] = field(default_factory=lambda: deque(maxlen=WINDOW))

    def receive(self, stamp_ns: int) -> None:
        """Count a message, whether or not it can be decoded."""
        self.received += 1
        self.stamps_ns.append(stamp_ns)

    def accept(self, frame: Frame) -> bool:
        """Count a decoded frame; True where its size or encoding differs from the last one's."""
        at_ns = time.monotonic_ns()
        usual_ns = self.arrivals_ns[-1] - self.arrivals_ns[-2] if len(self.arrivals_ns) > 1 else 0
        if not self.arrivals_ns or at_ns - self.arrivals_ns[-1] > max(PAUSE_NS, 3 * usual_ns):
            self.resumed_at_ns = at_ns
        self.arrivals_ns.append(at_ns)
        self.lags_ns.append(frame.stamp_ns - at_ns)
        now = (frame.size, frame.source_encoding)
        changed = self.encoding != "" and now != (self.size, self.encoding)
        self.size_changes += changed
        self.size, self.encoding = now
        return changed

    def rate_hz(self, stale_ns: int) -> float:
        """Arrivals a second over the last seconds; 0 where nothing came for ``stale_ns``."""
        return _rate_hz(tuple(self.arrivals_ns), stale_ns)

    def lost_share(self) -> float:
        """Share of frames that never arrived: stamp gaps that are multiples of the publisher's period; 0 where that is not regular.

        Gaps over ``PAUSE_NS`` and steps back are no loss but a pause or a jump.
        """
        gaps = np.diff(np.array(self.stamps_ns, np.int64)).astype(float)
        gaps = gaps[(gaps > 0) & (gaps < PAUSE_NS)]
        if len(gaps) < MIN_GAPS:
            return 0.0
        single = gaps[gaps < 1.5 * np.percentile(gaps, 20)]
        period = float(np.median(single))
        if np.ptp(np.percentile(single, (10, 90))) > IRREGULAR * period:
            return 0.0
        expected = np.maximum(np.rint(gaps / period), 1).sum()
        return float(1.0 - len(gaps) / expected)


class NodeStats:
    """All counters of one active period and before; ``lock`` guards what both threads write."""

    def __init__(self) -> None:
        self.thermal, self.rgb = StreamStats(), StreamStats()
        self.fused = self.replaced = self.last_pair_at_ns = self.last_fused_at_ns = 0
        self.failed, self.internal_errors = Failures(), Failures()  # of pairs, and of the node itself at a good frame
        self.lock = threading.Lock()
        self._skipped: Counter[str] = Counter()
        self._fused_at_ns: deque[int] = deque(maxlen=WINDOW)
        self._latencies_ns: deque[int] = deque(maxlen=WINDOW)
        self._differences_ns: deque[int] = deque(maxlen=WINDOW)
        self._pair_stamps_ns: deque[int] = deque(maxlen=WINDOW // 3)
        self._stages_ns: dict[str, deque[int]] = {}

    def stream(self, role: str) -> StreamStats:
        """The statistics of ``thermal`` or ``rgb``."""
        return self.thermal if role == "thermal" else self.rgb

    def count_pair(self, stamp_ns: int, difference_ns: int) -> None:
        """A pair was matched: its rgb stamp, and the thermal stamp minus that, offset taken off."""
        self.last_pair_at_ns = time.monotonic_ns()
        with self.lock:
            self._differences_ns.append(abs(difference_ns))
        self._pair_stamps_ns.append(stamp_ns)

    def pair_period_ns(self) -> int:
        """Median time between two matched pairs, those included that are dropped later; 0: not known. For the thread of ``count_pair``."""
        gaps = [later - earlier for earlier, later in pairwise(self._pair_stamps_ns) if 0 < later - earlier < PAUSE_NS]
        return round(statistics.median(gaps)) if len(gaps) >= MIN_PERIODS else 0

    def count_fused(self, fused: FusedFrame, latency_ns: int) -> None:
        """A fused frame was published ``latency_ns`` after its rgb stamp."""
        with self.lock:
            self.fused += 1
            self.last_fused_at_ns = time.monotonic_ns()
            self._fused_at_ns.append(self.last_fused_at_ns)
            self._latencies_ns.append(latency_ns)
            for stage, duration in fused.timings_ns.items():
                self._stages_ns.setdefault(stage, deque(maxlen=WINDOW)).append(duration)

    def count_skipped(self, reason: str, pairs: int = 1) -> None:
        """Pairs were not fused on purpose: disabled, no_subscriber, shut_down, too_old, degraded."""
        with self.lock:
            self._skipped[reason] += pairs

    def skipped(self) -> dict[str, int]:
        """Pairs not fused on purpose, by reason."""
        with self.lock:
            return dict(sorted(self._skipped.items()))

    def fused_rate_hz(self, stale_ns: int) -> float:
        """Fused frames a second over the last seconds; 0 where none came for ``stale_ns``."""
        with self.lock:
            return _rate_hz(tuple(self._fused_at_ns), stale_ns)

    def latency_ms(self, percentile: float) -> float:
        """Percentile of the time from rgb stamp to publishing, in milliseconds; NaN before the first."""
        with self.lock:
            return _percentile_ms(self._latencies_ns, percentile)

    def difference_ms(self, percentile: float) -> float:
        """Percentile of the pairs' absolute stamp difference, in milliseconds; NaN before the first."""
        with self.lock:
            return _percentile_ms(self._differences_ns, percentile)

    def stages_ms(self, percentile: float) -> dict[str, float]:
        """Percentile of the duration of each stage of the pipeline and of their ``total``, in milliseconds."""
        with self.lock:
            return {stage: _percentile_ms(values, percentile) for stage, values in self._stages_ns.items()}

    def clock_offset_ms(self) -> float:
        """Thermal minus rgb clock, estimated from the age of stamps at arrival; NaN before both streams came.

        Its error is the difference of the two drivers' delays: good enough to find seconds, not to align frames.
        """
        if not self.thermal.lags_ns or not self.rgb.lags_ns:
            return math.nan
        thermal, rgb = (np.median(np.array(stream.lags_ns, np.int64)) for stream in (self.thermal, self.rgb))
        return float(thermal - rgb) / 1e6


def _percentile_ms(values_ns: Collection[int], percentile: float) -> float:
    return float(np.percentile(np.array(values_ns, np.int64), percentile)) / 1e6 if values_ns else math.nan


def _rate_hz(times_ns: Sequence[int], stale_ns: int) -> float:
    """Events a second, of those of the last ``stale_ns`` and ``RATE_SPAN_NS``."""
    now = time.monotonic_ns()
    recent = [event for event in times_ns if now - event < stale_ns + RATE_SPAN_NS]
    if len(recent) < 2 or now - recent[-1] > stale_ns:
        return 0.0
    return (len(recent) - 1) * 1e9 / max(recent[-1] - recent[0], 1)
