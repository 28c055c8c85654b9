"""Pair matching by ``sync.policy``: our own matcher, or message_filters' synchroniser with the same methods."""

from typing import TYPE_CHECKING, TypeAlias

from aenet_ros.config import SyncConfig
from aenet_ros.sync.matcher import PairMatcher

if TYPE_CHECKING:
    from aenet_ros.ros.approximate_matcher import ApproximateMatcher

Matcher: TypeAlias = "PairMatcher | ApproximateMatcher"
"""Both have ``slop_ns``, ``clock_offset_ns``, ``counts``, ``pending``, ``push_thermal`` and ``push_rgb``."""


def make_matcher(config: SyncConfig) -> Matcher:
    """The matcher that ``config.policy`` names; raises MissingDependencyError where message_filters is wanted and absent."""
    slop_ns, offset_ns = slop_and_offset_ns(config)
    if config.policy == "approximate":
        from aenet_ros.ros.approximate_matcher import ApproximateMatcher

        return ApproximateMatcher(slop_ns, offset_ns, config.queue_size)
    return PairMatcher(slop_ns, offset_ns, config.queue_size)


def slop_and_offset_ns(config: SyncConfig) -> tuple[int, int]:
    """The two times of a matcher in nanoseconds; the policy exact has no slop."""
    return 0 if config.policy == "exact" else config.slop_ns, config.clock_offset_ns


def follow_sync(matcher: Matcher, config: SyncConfig) -> None:
    """Give the matcher the dynamic options of ``config``."""
    slop_ns, matcher.clock_offset_ns = slop_and_offset_ns(config)
    if slop_ns != matcher.slop_ns:
        matcher.slop_ns = slop_ns
