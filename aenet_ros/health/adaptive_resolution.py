"""A budget for a pair's time: the network's picture becomes smaller while the machine is too slow, and full again when it is not.

Knows neither pictures nor clocks: it is told how long each pair took.
"""

import statistics
from collections import deque

from aenet_ros.config import LatencyConfig

SCALES = (1.0, 0.75, 0.5)
"""The steps: side lengths of the network's picture against the rgb frame's. Its cost goes with their square."""

WINDOW = 15  # pairs whose median is judged: half a second at 30 Hz, and one slow pair in it changes nothing
SETTLE = 4  # pairs after a change that are not judged: libraries prepare for a new size
MARGIN = 0.85  # of the budget, under which the larger size must be expected to stay
PATIENCE = 90  # pairs for which it must, before a step back; doubled each time that a step back did not last
MOST_PATIENCE = 16 * PATIENCE
LASTED = 300  # pairs after which a step back is said to have lasted


class AdaptiveResolution:
    """Told of each pair by ``spent``, it says by ``scale`` at what size the network is to work. Not thread-safe.

    ``downs`` and ``ups`` count the steps. A step down needs a median over the budget; one up needs the larger size to be expected well
    within it for long, and longer each time that this turned out wrong, so that the size does not swing.
    """

    def __init__(self, config: LatencyConfig | None = None) -> None:
        self.config = config or LatencyConfig()
        self.downs = self.ups = 0
        self.took_ms = 0.0  # median of the pairs judged last
        self._step = 0
        self._since = 0  # pairs since the last change
        self._good = 0
        self._patience = PATIENCE
        self._stepped_up = False
        self._pairs: deque[tuple[int, int]] = deque(maxlen=WINDOW)

    @property
    def scale(self) -> float:
        """One of SCALES; 1 while there is no budget."""
        return SCALES[self._step]

    @property
    def exceeded(self) -> bool:
        """Whether even the smallest size is over the budget."""
        return self._step == len(SCALES) - 1 and 0 < self.config.budget_ms < self.took_ms

    def spent(self, total_ns: int, fusion_ns: int) -> None:
        """A pair took so long in all, and so long in the part that the size matters for."""
        if not self.config.budget_ms:
            self._step, self.took_ms = 0, 0.0
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
        self.took_ms, budget_ms = total_ms, self.config.budget_ms
        if total_ms > budget_ms:
            self._good = 0
            if self._step < len(SCALES) - 1:
                if self._stepped_up:
                    self._patience = min(2 * self._patience, MOST_PATIENCE)
                self.downs += 1
                self._change(self._step + 1, False)
        elif self._step:
            larger = (SCALES[self._step - 1] / SCALES[self._step]) ** 2
            expected_ms = total_ms + fusion_ms * (larger - 1.0)
            self._good = self._good + 1 if expected_ms < MARGIN * budget_ms else 0
            if self._good >= self._patience:
                self.ups += 1
                self._change(self._step - 1, True)

    def _change(self, step: int, stepped_up: bool) -> None:
        self._step, self._stepped_up = step, stepped_up
        self._since = self._good = 0
        self._pairs.clear()
