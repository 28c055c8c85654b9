"""Pair matching by ``sync.policy``: our own matcher, or message_filters' synchroniser with the same methods."""

from typing import Protocol

from aenet_ros.config import SyncConfig
from aenet_ros.core.frames import Frame, FramePair
from aenet_ros.sync.matcher import PairCounts, PairMatcher

NS_PER_MS = 1_000_000


class Matcher(Protocol):
    """What the node needs of a matcher; see ``aenet_ros.sync.matcher.PairMatcher``."""

    slop_ns: int
    clock_offset_ns: int

    @property
    def counts(self) -> PairCounts:
        """Frames in, pairs out, and what was dropped by reason."""

    @property
    def pending(self) -> int:
        """Frames that wait for a partner."""

    def push_thermal(self, frame: Frame) -> list[FramePair]:
        """Take a thermal frame; returns the pairs that are now decided."""

    def push_rgb(self, frame: Frame) -> list[FramePair]:
        """Take an rgb frame; returns the pairs that are now decided."""


def make_matcher(config: SyncConfig) -> Matcher:
    """The matcher that ``config.policy`` names; raises MissingDependencyError where message_filters is wanted and absent."""
    slop_ns, offset_ns = slop_and_offset_ns(config)
    if config.policy == "approximate":
        from aenet_ros.ros.approximate_matcher import ApproximateMatcher

        return ApproximateMatcher(slop_ns, offset_ns, config.queue_size)
    return PairMatcher(slop_ns, offset_ns, config.queue_size)


def slop_and_offset_ns(config: SyncConfig) -> tuple[int, int]:
    """The two times of a matcher in nanoseconds; the policy exact has no slop."""
    slop_ms = 0.0 if config.policy == "exact" else config.slop_ms
    return round(slop_ms * NS_PER_MS), round(config.clock_offset_ms * NS_PER_MS)


def follow_sync(matcher: Matcher, config: SyncConfig) -> None:
    """Give the matcher the dynamic options of ``config``."""
    slop_ns, matcher.clock_offset_ns = slop_and_offset_ns(config)
    if slop_ns != matcher.slop_ns:
        matcher.slop_ns = slop_ns
