"""Analysis that can wait until a fused picture is published: picture faults, quality, clock offset, registration drift, sensor model."""

import time
from collections import deque
from typing import NamedTuple

from aenet_ros.config import Config
from aenet_ros.core.frames import Frame, FramePair, FusedFrame
from aenet_ros.health.adaptive_resolution import resolution_status
from aenet_ros.health.fallback import FallbackPolicy
from aenet_ros.health.judge import NodeFacts, input_problem, judge
from aenet_ros.health.quality import QualityMonitor
from aenet_ros.health.status import OK, WARN, Code, Failures, Status
from aenet_ros.pipeline import FusionPipeline
from aenet_ros.ros.alignment import AlignmentMonitor
from aenet_ros.ros.offset import OffsetService

BACKLOG = 15
"""Entries that wait at most; the oldest are dropped."""


class ArrivedFrame(NamedTuple):
    """A frame that arrived at ``at_ns`` of the monotonic clock."""

    role: str
    frame: Frame
    at_ns: int
    config: Config


class DeferredAnalysis:
    """``add`` returns at once; ``run`` does the work in the worker's thread. An error is counted here and fails no pair."""

    def __init__(self, policy: FallbackPolicy, quality: QualityMonitor, offset: OffsetService, alignment: AlignmentMonitor) -> None:
        self._policy, self._quality, self._offset, self._alignment = policy, quality, offset, alignment
        self._entries: deque[ArrivedFrame | FramePair | FusedFrame] = deque(maxlen=BACKLOG)
        self._failures = Failures()

    def add(self, entry: ArrivedFrame | FramePair | FusedFrame) -> None:
        """A camera's frame, a matched pair, or a published picture."""
        self._entries.append(entry)

    def run(self, pipeline: FusionPipeline, config: Config | None) -> None:
        """Analyse what was added; to be called after publishing, by one thread."""
        try:
            pipeline.update_sensor_model(config)
        except Exception as error:
            self._failures.count(error)
        while self._entries:
            try:
                self._analyze(self._entries.popleft())
            except Exception as error:
                self._failures.count(error)

    def statuses(self, facts: NodeFacts, depth_problem: str) -> list[Status]:
        """All statuses of an active node."""
        config, pipeline = facts.config, facts.pipeline
        assert pipeline is not None
        problems = {role: found[1] for role in facts.topics if (found := input_problem(role, facts)) is not None}
        degraded = self._policy.status(time.monotonic_ns(), config, problems)
        if degraded.level != OK:
            facts.degraded, facts.action = degraded.message, degraded.values.get("does", "")
        return [
            *judge(facts),
            degraded,
            self._offset.status(config),
            self._quality.status(config, facts.stats, pipeline),
            resolution_status(config.latency, pipeline.resolution),
            self._alignment.status(config, depth_problem or pipeline.registration_fallback),
            self.status(),
        ]

    def status(self) -> Status:
        """The analysis itself."""
        values = {"errors": str(self._failures.number)}
        if self._failures.recent:
            text = f"background analysis fails, fusion goes on: {self._failures.last}"
            return Status("analysis", WARN, Code.ANALYSIS_FAILS, text, values)
        return Status("analysis", OK, Code.ANALYSIS_OK, "background analysis works", values)

    def _analyze(self, entry: ArrivedFrame | FramePair | FusedFrame) -> None:
        if isinstance(entry, FramePair):
            self._alignment.put(entry)
        elif isinstance(entry, FusedFrame):
            self._quality.add(entry)
        else:
            self._policy.analyze(entry.role, entry.frame, entry.at_ns, entry.config)
            self._offset.put(entry.role, entry.frame, entry.config)
