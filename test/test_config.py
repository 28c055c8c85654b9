"""The configuration: what it takes, what it refuses, and what it says then."""

import dataclasses
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aenet_ros.config import Config, build, flatten, specs
from aenet_ros.config.schema import IDENTITY_3X3
from aenet_ros.core.errors import ConfigError

NUMBERS = [spec for spec in specs().values() if spec.low is not None]
CHOICES = [spec for spec in specs().values() if spec.choices]


def by_name(spec):
    return spec.name


def partners(name, value):
    """Settings that keep a single value within the bounds between options."""
    return {
        "agc.fixed_low": {"agc.fixed_high": value + 1} if value < 1e6 else None,
        "agc.fixed_high": {"agc.fixed_low": value - 1} if value > -1e6 else None,
        "agc.low_percentile": {"agc.high_percentile": 100.0},
        "agc.high_percentile": {"agc.low_percentile": 0.0},
    }.get(name, {})


def test_defaults_are_valid_and_named_by_group():
    assert build({}) == Config()
    names = list(specs())
    assert names[:3] == ["autostart", "enabled", "input.thermal.transport"]
    assert {"sync.slop_ms", "agc.mode", "registration.homography", "model.device", "output.encoding", "diagnostics.period_s"} <= set(names)
    assert flatten(Config()) == {name: spec.default for name, spec in specs().items()}


def test_every_option_is_documented():
    for spec in specs().values():
        assert spec.doc.endswith("."), spec.name
        assert len(spec.doc) > 15, spec.name
        assert (spec.low is None) == (spec.high is None), f"{spec.name} has one bound only"


def test_values_go_to_their_place_and_nothing_else_moves():
    config = build({"sync.slop_ms": 12.5, "output.encoding": "bgr8", "enabled": False})
    assert (config.sync.slop_ms, config.output.encoding, config.enabled) == (12.5, "bgr8", False)
    changed = {name for name, value in flatten(config).items() if value != specs()[name].default}
    assert changed == {"sync.slop_ms", "output.encoding", "enabled"}


def test_base_is_kept_and_not_changed():
    base = build({"sync.slop_ms": 40.0})
    config = build({"agc.invert": True}, base)
    assert (config.sync.slop_ms, config.agc.invert) == (40.0, True)
    assert base.agc.invert is False


def test_config_is_immutable():
    config = Config()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.enabled = False
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.agc.mode = "fixed"


@pytest.mark.parametrize("spec", NUMBERS, ids=by_name)
def test_bounds_are_inclusive_and_enforced(spec):
    kind = type(spec.default)
    for bound, outside in ((spec.low, -1), (spec.high, 1)):
        value = kind(bound)
        if (others := partners(spec.name, value)) is not None:
            assert flatten(build({**others, spec.name: value}))[spec.name] == value
        beyond = value + outside if kind is int else math.nextafter(value, outside * math.inf)
        with pytest.raises(ConfigError, match=rf"^{re.escape(spec.name)}: .* out of range; give "):
            build({spec.name: beyond})


@pytest.mark.parametrize("spec", CHOICES, ids=by_name)
def test_choices_are_all_taken_and_others_refused_by_a_list_of_them(spec):
    for choice in spec.choices:
        needed = {"output.width": 320} if (spec.name, choice) == ("output.grid", "size") else {}
        assert flatten(build({spec.name: choice, **needed}))[spec.name] == choice
    with pytest.raises(ConfigError) as caught:
        build({spec.name: "no-such-choice"})
    assert all(choice in str(caught.value) for choice in spec.choices)


@pytest.mark.parametrize("name", [spec.name for spec in NUMBERS if isinstance(spec.default, float)])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_floats_must_be_finite(name, value):
    with pytest.raises(ConfigError, match="not a finite number"):
        build({name: value})


def test_an_integer_serves_as_a_float_and_becomes_one():
    slop_ms = build({"sync.slop_ms": 30}).sync.slop_ms
    assert slop_ms == 30.0
    assert type(slop_ms) is float


@pytest.mark.parametrize("name", ["sync.slop_ms", "sync.queue_size"])
def test_integers_beyond_any_float_are_out_of_range_too(name):
    with pytest.raises(ConfigError, match="out of range"):
        build({name: 10**400})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sync.slop_ms", True),
        ("sync.slop_ms", "25"),
        ("sync.queue_size", True),
        ("sync.queue_size", 10.0),
        ("enabled", 1),
        ("enabled", "true"),
        ("sync.policy", 1),
        ("model.weights", None),
        ("output.jpeg_quality", [90]),
    ],
)
def test_other_types_are_refused_by_name(name, value):
    with pytest.raises(ConfigError, match=rf"^{re.escape(name)}: .* give a "):
        build({name: value})


def test_lists_keep_their_length():
    turned = (0.0, -1.0, 639.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0)
    assert build({"registration.homography": list(turned)}).registration.homography == turned
    assert build({"registration.homography": [1, 0, 0, 0, 1, 0, 0, 0, 1]}).registration.homography == IDENTITY_3X3


@pytest.mark.parametrize(
    "value",
    [
        [],
        [1.0] * 8,
        [1.0] * 10,
        [math.nan] + [0.0] * 8,
        [math.inf] * 9,
        1.0,
        None,
        "100010001",
        ["a"] * 9,
        [None] * 9,
        [True] * 9,
        [[1.0] * 3] * 3,
        [10**400] * 9,
    ],
)
def test_lists_that_are_no_homography_are_refused(value):
    with pytest.raises(ConfigError, match=r"^registration\.homography: "):
        build({"registration.homography": value})


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("agc.mdoe", r"\(did you mean agc\.mode\?\)"),
        ("clock_offset_ms", r"\(did you mean sync\.clock_offset_ms\?\)"),
        ("agc_mode", r"\(did you mean agc\.mode\?\)"),
        ("mode", r"\(did you mean agc\.mode or registration\.mode\?\)"),
        ("sync.xyz", r"; sync\.\* has policy, slop_ms"),
        ("xyz", r"; options are .*agc\.\*"),
        ("sync", r"; options are "),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_one(name, hint):
    with pytest.raises(ConfigError, match=f"^unknown option '{name}' ?{hint}") as error:
        build({name: 1.0})
    assert len(str(error.value)) < 300


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"agc.low_percentile": 50.0, "agc.high_percentile": 50.0}, "agc.low_percentile"),
        ({"agc.fixed_low": 300.0}, "agc.fixed_high"),
        ({"agc.fixed_low": 5.0, "agc.fixed_high": 5.0}, "agc.invert"),
        # One ulp apart: the same count on the scale of most cameras, and a division by zero.
        ({"agc.unit": "celsius", "agc.fixed_low": 30.0, "agc.fixed_high": math.nextafter(30.0, 31.0)}, "by 0.001 at least"),
        ({"agc.unit": "celsius", "agc.celsius_per_count": 0.0}, "agc.celsius_per_count"),
    ],
)
def test_bounds_between_options(values, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        build(values)


def test_a_bound_between_options_holds_against_the_base_too():
    base = build({"agc.fixed_low": 20.0, "agc.fixed_high": 40.0})
    with pytest.raises(ConfigError, match="fixed_low"):
        build({"agc.fixed_high": 10.0}, base)
    assert build({"agc.fixed_low": 0.0, "agc.fixed_high": 10.0}, base).agc.fixed_high == 10.0


ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.lists(st.floats(), max_size=10),
    st.binary(),
    st.dictionaries(st.text(), st.none()),
)


@given(name=st.sampled_from(sorted(specs())), value=ANYTHING)
def test_any_value_is_taken_in_the_right_type_or_refused_with_a_config_error(name, value):
    spec = specs()[name]
    try:
        taken = flatten(build({name: value}))[name]
    except ConfigError as error:
        assert re.search(rf"{re.escape(name)}|agc\.", str(error))  # noqa: PT017 - either outcome is right
    else:
        assert type(taken) is type(spec.default)
        assert spec.low is None or spec.low <= taken <= spec.high
