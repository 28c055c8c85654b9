"""Pair matching by ``sync.policy``: our own matcher, or message_filters' synchronizer with the same methods."""

import importlib
from typing import Any, TypeAlias

from builtin_interfaces.msg import Time
from std_msgs.msg import Header

from aenet_ros.config import SyncConfig
from aenet_ros.core.errors import MissingDependencyError
from aenet_ros.core.frames import Frame, FramePair
from aenet_ros.sync.matcher import PairCounts, PairMatcher

NS_PER_S = 1_000_000_000
DROP_REASON = "message_filters"


class ApproximateMatcher:
    """message_filters' ApproximateTimeSynchronizer. It does not report which frames it drops: all are counted under one reason."""

    pending = 0
    """Unknown here: what waits is part of the count ``message_filters``."""

    def __init__(self, slop_ns: int, clock_offset_ns: int, queue_size: int) -> None:
        try:
            self._library: Any = importlib.import_module("message_filters")
        except ImportError as error:
            raise MissingDependencyError(
                "sync.policy approximate needs message_filters, which is not installed: "
                "apt install ros-$ROS_DISTRO-message-filters, or set sync.policy to nearest"
            ) from error
        self.clock_offset_ns = clock_offset_ns
        self._queue_size = queue_size
        self._thermal_in = self._rgb_in = self._pairs = 0
        self._matched: list[FramePair] = []
        self.slop_ns = slop_ns

    @property
    def slop_ns(self) -> int:
        """Largest stamp difference; setting it starts with empty queues."""
        return self._slop_ns

    @slop_ns.setter
    def slop_ns(self, value: int) -> None:
        self._slop_ns = value
        self._thermal, self._rgb = self._library.SimpleFilter(), self._library.SimpleFilter()
        # Strictly smaller is what it compares with, so that equal stamps need a slop of at least 1 ns.
        slop_s = max(value, 1) / NS_PER_S
        self._synchroniser = self._library.ApproximateTimeSynchronizer([self._thermal, self._rgb], self._queue_size, slop_s)
        self._synchroniser.registerCallback(self._on_match)

    @property
    def counts(self) -> PairCounts:
        """Frames in and pairs out; the difference is what waits or was dropped inside message_filters."""
        unpaired = self._thermal_in + self._rgb_in - 2 * self._pairs
        return PairCounts(self._thermal_in, self._rgb_in, self._pairs, {DROP_REASON: unpaired} if unpaired else {})

    def push_thermal(self, frame: Frame) -> list[FramePair]:
        """See ``PairMatcher.push_thermal``."""
        self._thermal_in += 1
        return self._push(self._thermal, frame, frame.stamp_ns - self.clock_offset_ns)

    def push_rgb(self, frame: Frame) -> list[FramePair]:
        """See ``PairMatcher.push_rgb``."""
        self._rgb_in += 1
        return self._push(self._rgb, frame, frame.stamp_ns)

    def _push(self, stream: Any, frame: Frame, stamp_ns: int) -> list[FramePair]:
        stream.signalMessage(_Stamped(frame, stamp_ns))
        pairs, self._matched = self._matched, []
        self._pairs += len(pairs)
        return pairs

    def _on_match(self, thermal: "_Stamped", rgb: "_Stamped") -> None:
        self._matched.append(FramePair(thermal.frame, rgb.frame, thermal.stamp_ns - rgb.stamp_ns))


class _Stamped:
    """A frame with the header that message_filters reads."""

    def __init__(self, frame: Frame, stamp_ns: int) -> None:
        self.frame, self.stamp_ns = frame, stamp_ns
        seconds, nanoseconds = divmod(max(stamp_ns, 0), NS_PER_S)
        self.header = Header(stamp=Time(sec=seconds, nanosec=nanoseconds))


Matcher: TypeAlias = PairMatcher | ApproximateMatcher


def make_matcher(config: SyncConfig) -> Matcher:
    """The matcher that ``config.policy`` names; raises MissingDependencyError where message_filters is wanted and absent."""
    kind = ApproximateMatcher if config.policy == "approximate" else PairMatcher
    return kind(config.slop_ns, config.clock_offset_ns, config.queue_size)


def follow_sync(matcher: Matcher, config: SyncConfig) -> None:
    """Give the matcher the dynamic options of ``config``."""
    matcher.clock_offset_ns = config.clock_offset_ns
    if matcher.slop_ns != config.slop_ns:
        matcher.slop_ns = config.slop_ns
