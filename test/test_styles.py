"""The styles of the published picture: a pipeline with real frames whose truth is drawn by the test."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from aenet_ros.cli.main import main
from aenet_ros.config import STYLES, build
from aenet_ros.core.errors import ConfigError
from aenet_ros.core.frames import Frame, FramePair
from aenet_ros.pipeline import FusionPipeline
from aenet_ros.thermal.palettes import table

HEIGHT, WIDTH = 128, 160
HOT = np.s_[40:60, 20:40]
OUTSIDE = np.ones((HEIGHT, WIDTH), bool)
OUTSIDE[HOT] = False


def pair(encoding="rgb8"):
    """20 degC everywhere and 60 degC in HOT, in hundredths of a kelvin; rgb with one vertical edge in the middle."""
    counts = np.full((HEIGHT, WIDTH), 29315, np.uint16)
    counts[HOT] = 33315
    counts += np.random.default_rng(0).integers(0, 5, counts.shape, np.uint16)
    rgb = np.full((HEIGHT, WIDTH, 3), (40, 80, 120), np.uint8)
    rgb[:, WIDTH // 2 :] = (200, 80, 120)
    if encoding == "mono8":
        rgb = rgb[..., 0].copy()
    return FramePair(Frame(10**9, counts, "mono16"), Frame(10**9, rgb, encoding))


def styled(style, rgb_encoding="rgb8", **options):
    pipeline = FusionPipeline(build({"model.device": "cpu", "agc.profile": "lepton", "output.style": style, **options}))
    return pipeline.process(pair(rgb_encoding))


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(("rgb_encoding", "encoding"), [("rgb8", "rgb8"), ("bgr8", "rgb8"), ("mono8", "bgr8"), ("rgb8", "mono8")])
def test_every_style_has_the_size_and_encoding_of_the_output(style, rgb_encoding, encoding):
    fused = styled(style, rgb_encoding, **{"output.encoding": encoding})
    assert fused.image.shape == ((HEIGHT, WIDTH) if encoding == "mono8" else (HEIGHT, WIDTH, 3))
    assert fused.image.dtype == np.uint8
    assert fused.encoding == encoding
    assert fused.thermal_registered is None
    assert fused.keeps_geometry == (style != "side_by_side")


def test_tint_colours_the_band_only():
    plain = styled("fusion").image
    drawn = styled("tint", **{"output.isotherm_low": 50.0, "output.isotherm_high": 70.0, "output.palette": "ironbow"}).image
    assert (drawn[OUTSIDE] == plain[OUTSIDE]).all()
    white = table("ironbow")[255].astype(float)
    assert np.abs(drawn[45:55, 25:35] - (0.4 * plain[45:55, 25:35] + 0.6 * white)).max() <= 2
    assert (styled("tint", **{"output.isotherm_low": 80.0, "output.isotherm_high": 90.0}).image == plain).all()


def test_edges_draw_the_rgb_edge_over_the_thermal_picture():
    drawn = styled("edges", **{"output.palette": "white_hot"}).image
    assert (drawn[50, 30] == 255).all()
    assert (drawn[100, WIDTH // 2 - 1 : WIDTH // 2 + 1] > 100).all()
    assert (drawn[100, 20:60] < 60).all()


def test_pip_and_side_by_side_show_both_pictures():
    inset = styled("pip", **{"output.palette": "white_hot"}).image
    assert inset[HEIGHT - 2, 2].tolist() == [40, 80, 120]
    left = WIDTH - round(WIDTH * 0.35)
    assert inset[round(50 * 0.35), left + round(30 * 0.35)].min() > 240  # the hot body in the inset
    both = styled("side_by_side", **{"output.palette": "white_hot"}).image
    assert both[HEIGHT // 2, 2].tolist() == [40, 80, 120]
    assert both[HEIGHT // 4 + 25, WIDTH // 2 + 15].min() > 240
    assert not both[2].any()


def test_the_style_changes_while_the_pipeline_runs():
    pipeline = FusionPipeline(build({"model.device": "cpu"}))
    first = pipeline.process(pair()).image
    edges = pipeline.process(pair(), build({"output.style": "edges"}, pipeline.config)).image
    assert (pipeline.process(pair()).image == first).all()
    assert not (edges == first).all()


def test_crossed_levels_and_unknown_names_are_refused():
    with pytest.raises(ConfigError, match="isotherm_low"):
        build({"output.style": "tint", "output.isotherm_low": 50.0, "output.isotherm_high": 40.0})
    with pytest.raises(ConfigError, match="ironbow"):
        build({"output.palette": "iron"})


def test_aenet_fuse_draws_a_style(tmp_path: Path):
    given = pair()
    cv2.imwrite(str(tmp_path / "t.png"), given.thermal.data)
    cv2.imwrite(str(tmp_path / "v.png"), given.rgb.data[..., ::-1])
    files = [str(tmp_path / name) for name in ("t.png", "v.png")]
    assert main(["fuse", *files, "-o", str(tmp_path / "f.png"), "--style", "side_by_side", "--palette", "inferno"]) == 0
    drawn = cv2.imread(str(tmp_path / "f.png"))
    assert drawn[HEIGHT // 2, 2].tolist() == [120, 80, 40]
