"""A time budget for a pair: the network's picture becomes smaller while the machine is too slow, and larger again when there is time.

It knows neither pictures nor clocks: the caller reports how long each pair took.
"""

import statistics
from collections import deque

from aenet_ros.config import LatencyConfig
from aenet_ros.health.status import OK, WARN, Code, ResolutionStatus, Status

SCALES = (1.0, 0.75, 0.5, 0.25)  # sides of the network's picture against the rgb frame's; its time goes with their square
WORDS = {1.0: "full size", 0.75: "three quarters of the size", 0.5: "half of the size", 0.25: "a quarter of the size"}
AUTO_SHARE = 0.75  # of the time between two pairs, as the automatic budget; the rest is for messages, publishing and analysis
WINDOW = 15  # pairs whose median is judged: half a second at 30 Hz; one slow pair in it changes nothing
EARLY, FAR_OVER = 7, 1.5  # EARLY pairs are judged if their median is FAR_OVER times the budget: pairs are being dropped
SETTLE = 4  # pairs after a change that are not judged: libraries prepare for the new size
MARGIN = 0.85  # of the budget; the larger size must be expected to stay below it
PATIENCE = 90  # pairs for which that must hold before a step up; doubled each time that a step up did not last
MAX_PATIENCE = 16 * PATIENCE
LASTED = 300  # pairs after which a step up has lasted
WORTH = 0.1  # of a pair's time: a smaller size must be expected to save that much, else the network is not what takes the time


class AdaptiveResolution:
    """Chooses ``scale``, one of SCALES, from the time of each pair. Not thread-safe.

    A step down needs a median over the budget, and goes to the largest size that is expected to be within it. A step up needs the larger
    size to be expected well within the budget for PATIENCE pairs, and longer each time that this was wrong, so that it does not oscillate.
    """

    def __init__(self) -> None:
        self._step = self._steps_down = self._steps_up = 0
        self._budget_ms = self._pair_ms = 0.0  # the latter: median of the pairs judged last
        self._since = self._good = 0  # pairs since the last change; those in a row that allow a step up
        self._patience = [PATIENCE] * len(SCALES)  # before a step up to each size
        self._stepped_up = self._exceeded = False
        self._pairs: deque[tuple[int, int]] = deque(maxlen=WINDOW)

    @property
    def scale(self) -> float:
        """The size to use; 1 while there is no budget."""
        return SCALES[self._step]

    @scale.setter
    def scale(self, scale: float) -> None:
        self._step = SCALES.index(scale)

    @property
    def state(self) -> ResolutionStatus:
        """For diagnostics."""
        return ResolutionStatus(self.scale, self._budget_ms, self._pair_ms, self._exceeded, self._steps_down, self._steps_up)

    def record(self, total_ns: int, fusion_ns: int, config: LatencyConfig, period_ns: int) -> None:
        """Take the time of a pair: in all, and in the part that depends on the size. ``period_ns``: between two pairs; 0: not live."""
        self._budget_ms = budget_ms(config, period_ns)
        if not self._budget_ms:
            self._step, self._pair_ms, self._exceeded = 0, 0.0, False
            self._pairs.clear()
            return
        self._since += 1
        if self._stepped_up and self._since > LASTED:
            self._stepped_up, self._patience[self._step] = False, PATIENCE
        if self._since <= SETTLE:
            return
        self._pairs.append((total_ns, fusion_ns))
        if len(self._pairs) == WINDOW or (len(self._pairs) >= EARLY and self._median_ms(0) > FAR_OVER * self._budget_ms):
            self._judge()

    def _median_ms(self, part: int) -> float:
        return statistics.median(times[part] for times in self._pairs) / 1e6

    def _judge(self) -> None:
        total_ms, fusion_ms = self._median_ms(0), self._median_ms(1)
        self._pair_ms, self._exceeded = total_ms, False
        expected_ms = [total_ms + fusion_ms * ((scale / self.scale) ** 2 - 1.0) for scale in SCALES]
        if total_ms > self._budget_ms:
            self._good = 0
            smaller = [step for step in range(self._step + 1, len(SCALES)) if total_ms - expected_ms[step] > WORTH * total_ms]
            self._exceeded = not smaller
            if smaller:
                self._step_down(next((step for step in smaller if expected_ms[step] <= self._budget_ms), smaller[-1]))
        elif self._step:
            self._good = self._good + 1 if expected_ms[self._step - 1] < MARGIN * self._budget_ms else 0
            if self._good >= self._patience[self._step - 1]:
                self._steps_up += 1
                self._change(self._step - 1, True)

    def _step_down(self, step: int) -> None:
        if self._stepped_up:  # the size before was good
            self._patience[self._step] = min(2 * self._patience[self._step], MAX_PATIENCE)
            step = self._step + 1
        self._steps_down += 1
        self._change(step, False)

    def _change(self, step: int, stepped_up: bool) -> None:
        self._step, self._stepped_up = step, stepped_up
        self._since = self._good = 0
        self._pairs.clear()


def budget_ms(config: LatencyConfig, period_ns: int) -> float:
    """Time budget of a pair of a live stream with ``period_ns`` between two pairs; 0: none."""
    if not period_ns:
        return 0.0  # not live, or the period is not known yet
    return config.budget_ms if config.budget_ms >= 0.0 else AUTO_SHARE * period_ns / 1e6


def resolution_status(config: LatencyConfig, state: ResolutionStatus) -> Status:
    """The size of the network's picture, and why, for diagnostics."""
    if not config.budget_ms:
        return Status("latency budget", OK, Code.BUDGET_OK, "no budget: the network works at full size (latency.budget_ms)", {})
    if not state.budget_ms:
        return Status("latency budget", OK, Code.BUDGET_OK, "full size: the period of the pairs is not known yet", {})
    values = {
        "budget [ms]": f"{state.budget_ms:.1f}" + (" (automatic)" if config.budget_ms < 0 else ""),
        "time of a pair [ms]": f"{state.pair_ms:.1f}",
        "network scale": f"{state.scale:g}",
        "steps down": str(state.steps_down),
        "steps up": str(state.steps_up),
    }
    if state.scale == 1.0 and not state.exceeded:
        return Status("latency budget", OK, Code.BUDGET_OK, f"full size: a pair takes {state.pair_ms:.1f} ms", values)
    if state.exceeded:
        text = (
            f"a pair takes {state.pair_ms:.1f} ms, the budget is {state.budget_ms:.1f} ms (latency.budget_ms), and a smaller size of the "
            f"network would not help; it works at {WORDS[state.scale]}: see the stage times of the status fusion, end other programs, "
            "check the CPU temperature, or use a GPU"
        )
    else:
        reason = f"a larger size takes more than {state.budget_ms:.1f} ms a pair (latency.budget_ms)"
        text = f"the network works at {WORDS[state.scale]}: {reason}"
    return Status("latency budget", WARN, Code.BUDGET_EXCEEDED if state.exceeded else Code.BUDGET_REDUCED, text, values)
