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
    if config.policy == "approximate":
        from aenet_ros.ros.approximate_matcher import ApproximateMatcher

        return ApproximateMatcher(config.slop_ns, config.clock_offset_ns, config.queue_size)
    return PairMatcher(config.slop_ns, config.clock_offset_ns, config.queue_size)


def follow_sync(matcher: Matcher, config: SyncConfig) -> None:
    """Give the matcher the dynamic options of ``config``."""
    matcher.clock_offset_ns = config.clock_offset_ns
    if config.slop_ns != matcher.slop_ns:
        matcher.slop_ns = config.slop_ns
