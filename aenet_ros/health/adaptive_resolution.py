"""A time budget for a pair: the network's picture becomes smaller while the machine is too slow, and larger again when there is time.

It knows neither pictures nor clocks: the caller reports how long each pair took.
"""

import statistics
from collections import deque

from aenet_ros.config import LatencyConfig
from aenet_ros.health.status import OK, WARN, ResolutionStatus, Status

SCALES = (1.0, 0.75, 0.5)  # sides of the network's picture against the rgb frame's; its time goes with their square
WINDOW = 15  # pairs whose median is judged: half a second at 30 Hz; one slow pair in it changes nothing
SETTLE = 4  # pairs after a change that are not judged: libraries prepare for the new size
MARGIN = 0.85  # of the budget; the larger size must be expected to stay below it
PATIENCE = 90  # pairs for which that must hold before a step up; doubled each time that a step up did not last
MAX_PATIENCE = 16 * PATIENCE
LASTED = 300  # pairs after which a step up has lasted


class AdaptiveResolution:
    """Chooses ``scale``, one of SCALES, from the time of each pair. Not thread-safe.

    A step down needs a median over the budget. A step up needs the larger size to be expected well within the budget for PATIENCE pairs,
    and longer each time that this expectation was wrong, so that the size does not oscillate.
    """

    def __init__(self) -> None:
        self._step = self._steps_down = self._steps_up = 0
        self._budget_ms = self._pair_ms = 0.0  # the latter: median of the pairs judged last
        self._since = self._good = 0  # pairs since the last change; those in a row that allow a step up
        self._patience, self._stepped_up = PATIENCE, False
        self._pairs: deque[tuple[int, int]] = deque(maxlen=WINDOW)

    @property
    def scale(self) -> float:
        """The size to use; 1 while there is no budget."""
        return SCALES[self._step]

    @property
    def state(self) -> ResolutionStatus:
        """For diagnostics."""
        exceeded = self._step == len(SCALES) - 1 and 0 < self._budget_ms < self._pair_ms
        return ResolutionStatus(self.scale, self._pair_ms, exceeded, self._steps_down, self._steps_up)

    def record(self, total_ns: int, fusion_ns: int, config: LatencyConfig) -> None:
        """Take the time of a pair: in all, and in the part that depends on the size."""
        self._budget_ms = config.budget_ms
        if not self._budget_ms:
            self._step, self._pair_ms = 0, 0.0
            self._pairs.clear()
            return
        self._since += 1
        if self._stepped_up and self._since > LASTED:
            self._stepped_up, self._patience = False, PATIENCE
        if self._since <= SETTLE:
            return
        self._pairs.append((total_ns, fusion_ns))
        if len(self._pairs) == WINDOW:
            self._judge()

    def _judge(self) -> None:
        total_ms, fusion_ms = (statistics.median(times) / 1e6 for times in zip(*self._pairs, strict=True))
        self._pair_ms = total_ms
        if total_ms > self._budget_ms:
            self._good = 0
            if self._step < len(SCALES) - 1:
                if self._stepped_up:
                    self._patience = min(2 * self._patience, MAX_PATIENCE)
                self._steps_down += 1
                self._change(self._step + 1, False)
        elif self._step:
            larger = (SCALES[self._step - 1] / SCALES[self._step]) ** 2
            expected_ms = total_ms + fusion_ms * (larger - 1.0)
            self._good = self._good + 1 if expected_ms < MARGIN * self._budget_ms else 0
            if self._good >= self._patience:
                self._steps_up += 1
                self._change(self._step - 1, True)

    def _change(self, step: int, stepped_up: bool) -> None:
        self._step, self._stepped_up = step, stepped_up
        self._since = self._good = 0
        self._pairs.clear()


def resolution_status(config: LatencyConfig, state: ResolutionStatus) -> Status:
    """The size of the network's picture, and why, for diagnostics."""
    if not config.budget_ms:
        return Status("latency budget", OK, "no budget: the network works at full size (latency.budget_ms)", {})
    values = {
        "budget [ms]": f"{config.budget_ms:g}",
        "time of a pair [ms]": f"{state.pair_ms:.1f}",
        "network scale": f"{state.scale:g}",
        "steps down": str(state.steps_down),
        "steps up": str(state.steps_up),
    }
    if state.scale == 1.0:
        return Status("latency budget", OK, f"full size: a pair takes {state.pair_ms:.1f} ms", values)
    text = f"the network works at {state.scale:g} of the size: a larger size exceeds latency.budget_ms {config.budget_ms:g}"
    if state.exceeded:
        text += f"; even so a pair takes {state.pair_ms:.1f} ms: end other programs, check the CPU temperature, or use a GPU"
    return Status("latency budget", WARN, text, values)
