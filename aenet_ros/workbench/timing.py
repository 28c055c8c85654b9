"""Time measurement for benchmarks: warm-up, repeated runs, median and quartiles, device synchronisation."""

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

WARM_UP_RUNS = 5


def spread_ms(durations_ns: Sequence[int]) -> dict[str, float]:
    """Return median and quartiles of durations in nanoseconds, as milliseconds."""
    low, median, high = np.percentile(np.asarray(durations_ns, np.int64), (25, 50, 75)) / 1e6
    return {"median_ms": round(float(median), 4), "q25_ms": round(float(low), 4), "q75_ms": round(float(high), 4)}


def time_runs(
    run: Callable[[], object], runs: int, synchronise: Callable[[], None] | None = None, warm_up: int = WARM_UP_RUNS
) -> list[int]:
    """Return durations in ns of ``runs`` calls after ``warm_up`` calls. ``synchronise`` is called before each reading of the clock."""
    wait = synchronise or (lambda: None)
    for _ in range(warm_up):
        run()
    durations = []
    for _ in range(runs):
        wait()
        begun = time.perf_counter_ns()
        run()
        wait()
        durations.append(time.perf_counter_ns() - begun)
    return durations


class TwoConvolutions(nn.Module):
    """A yardstick for speed: the layers of the smallest published fusion network, with random weights.

    Two 3x3 convolutions at full size with reflection padding, 2 to 4 to 1 channels, ReLU and tanh: 113 parameters
    (MMDRFuse, Deng et al., ACM Multimedia 2024).
    """

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3)
        self.second = nn.Conv2d(4, 1, 3)

    def forward(self, thermal: Tensor, luma: Tensor) -> Tensor:
        """Map two planes, float [B, 1, H, W], to one of the same shape."""
        x = F.pad(torch.cat((thermal, luma), 1), (1, 1, 1, 1), mode="reflect")
        x = F.pad(F.relu(self.first(x)), (1, 1, 1, 1), mode="reflect")
        return torch.tanh(self.second(x))
