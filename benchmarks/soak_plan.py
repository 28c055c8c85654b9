"""What a soak does to the node, and when: a plan that a seed decides."""

import random
from typing import Any, NamedTuple

from aenet_ros.config import specs
from aenet_ros.config.options import OptionSpec, Value

STILL = {"motion": 0.0, "walking": False, "scenes": "night"}
RIGS: dict[str, dict[str, Any]] = {
    "kill": {},
    "thermal pulled": {"thermal_drop": 1.0},
    "rgb pulled": {"rgb_drop": 1.0},
    "thermal frozen": {**STILL, "noise_celsius": 0.0},
    "rgb frozen": {**STILL, "rgb_noise": 0.0},
}
"""What the rig is restarted as, after it was killed."""

KINDS = {"calm": 2, "kill": 3, "loop": 2, **dict.fromkeys(list(RIGS)[1:], 1), "deactivate": 2, "cleanup": 1}
"""What may happen, with its weight."""

SHORTEST_S, LONGEST_S = 3.0, 20.0  # of a step
LEAST_STEPS = 5
OPTIONS_SHARE = 0.5  # of the steps: options change at their begin and go back at their end


class Step(NamedTuple):
    """One piece of bad luck: ``kind`` of KINDS, after ``pause_s`` without a camera where one is killed, for ``seconds``."""

    kind: str
    pause_s: float
    seconds: float
    options: dict[str, Value]


def plan(seed: int, seconds: float) -> list[Step]:
    """Steps that take at least so long; the starts of processes in between come on top."""
    # Two sources of chance, so that an option more or less does not change what else happens.
    rng, options_rng = random.Random(seed), random.Random(-1 - seed)
    longest_s = max(SHORTEST_S, min(LONGEST_S, seconds / LEAST_STEPS))
    options = [spec for spec in specs().values() if spec.dynamic and (spec.choices or not isinstance(spec.default, str))]
    steps: list[Step] = []
    while sum(step.pause_s + step.seconds for step in steps) < seconds:
        kind = rng.choices(list(KINDS), list(KINDS.values()))[0]
        changed = options_rng.sample(options, options_rng.randint(1, 4)) if rng.random() < OPTIONS_SHARE else []
        values = {spec.name: random_value(spec, options_rng) for spec in changed}
        steps.append(Step(kind, rng.uniform(0.1, 3.0), rng.uniform(SHORTEST_S, longest_s), values))
    return steps


def random_value(spec: OptionSpec, rng: random.Random) -> Value:
    """Any value within the option's bounds: near its default as often as anywhere."""
    if spec.choices:
        return rng.choice(spec.choices)
    if isinstance(spec.default, bool):
        return rng.random() < 0.5
    assert spec.low is not None
    assert spec.high is not None
    assert isinstance(spec.default, int | float)
    value = rng.uniform(spec.low, spec.high) if rng.random() < 0.5 else spec.default * rng.uniform(0.5, 2.0)
    value = min(max(value, spec.low), spec.high)
    return round(value) if isinstance(spec.default, int) else value
