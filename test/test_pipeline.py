"""FusionPipeline: from a pair of camera frames to the fused frame."""

import resource
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch

from aenet_ros.config import Config, build
from aenet_ros.core.errors import ConfigError, ImageError
from aenet_ros.core.frames import Frame, FramePair
from aenet_ros.core.process import keep_large_buffers
from aenet_ros.fusion.checkpoint import save_checkpoint
from aenet_ros.fusion.network import AENet
from aenet_ros.pipeline import FusionPipeline

SIZE = (96, 128)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """An untrained network, which is the plain average of its sources to a few grey levels."""
    torch.manual_seed(5)
    path = tmp_path_factory.mktemp("weights") / "average.safetensors"
    save_checkpoint(AENet(), path, {})
    return str(path)


def make(weights, **options):
    named = {name.replace("__", "."): value for name, value in options.items()}
    return FusionPipeline(build({"model.weights": weights, "model.device": "cpu", "model.threads": 1, **named}))


def shifted(weights, x, y, **options):
    matrix = (1.0, 0.0, float(x), 0.0, 1.0, float(y), 0.0, 0.0, 1.0)
    return make(weights, registration__mode="homography", registration__homography=matrix, **options)


def thermal_frame(stamp_ns=0, size=SIZE, seed=0):
    data = np.random.default_rng(seed).normal(22_000, 300, size).astype(np.uint16)
    return Frame(stamp_ns, data, "mono16", "thermal_optical", "16UC1")


def rgb_frame(stamp_ns=7, encoding="rgb8", size=SIZE, seed=1):
    shape = size if encoding == "mono8" else (*size, 3)
    return Frame(stamp_ns, np.random.default_rng(seed).integers(40, 200, shape).astype(np.uint8), encoding, "camera_optical", encoding)


def test_the_result_belongs_to_the_rgb_frame(weights):
    fused = make(weights).process(FramePair(thermal_frame(5), rgb_frame(7)))
    assert (fused.stamp_ns, fused.frame_id, fused.encoding) == (7, "camera_optical", "rgb8")
    assert fused.image.shape == (*SIZE, 3)
    assert fused.image.dtype == np.uint8
    assert fused.thermal_registered is None


def test_every_stage_is_timed(weights):
    timings = make(weights).process(FramePair(thermal_frame(), rgb_frame())).timings_ns
    stages = {name: value for name, value in timings.items() if name != "total"}
    assert list(stages) == ["agc", "registration", "fusion", "output"]
    assert all(type(value) is int and value >= 0 for value in timings.values())
    assert timings["total"] == sum(stages.values())


def test_a_hot_spot_appears_at_the_right_rgb_pixel(weights):
    counts = np.full(SIZE, 20_000, np.uint16)
    counts[28:33, 18:23] = 30_000  # its middle is thermal column 20, row 30
    grey = Frame(7, np.full((*SIZE, 3), 90, np.uint8), "rgb8")
    # rgb (x, y) sees thermal (x - 40, y - 20), so the spot is at rgb column 60, row 50.
    fused = shifted(weights, -40, -20, agc__high_percentile=100.0).process(FramePair(Frame(0, counts, "mono16"), grey))
    hot = np.argwhere(fused.image[..., 0] > 120)
    assert hot.mean(0) == pytest.approx([50, 60], abs=0.5)
    assert 15 <= len(hot) <= 49


def test_outside_the_thermal_view_the_picture_is_the_rgb_frame(weights):
    rgb = rgb_frame()
    fused = shifted(weights, -40, -20).process(FramePair(thermal_frame(), rgb))
    np.testing.assert_array_equal(fused.image[:20], rgb.data[:20])
    np.testing.assert_array_equal(fused.image[:, :40], rgb.data[:, :40])
    assert (fused.image[60:, 80:] != rgb.data[60:, 80:]).mean() > 0.5


def test_registered_counts_are_untouched(weights):
    thermal = thermal_frame()
    fused = shifted(weights, -40, -20).process(FramePair(thermal, rgb_frame()), want_registered=True)
    assert fused.thermal_registered.dtype == np.uint16
    np.testing.assert_array_equal(fused.thermal_registered[20:, 40:], thermal.data[:-20, :-40])
    assert not fused.thermal_registered[:20].any()


def test_cameras_of_different_sizes(weights):
    fused = make(weights).process(FramePair(thermal_frame(size=(60, 80)), rgb_frame(size=(121, 163))), want_registered=True)
    assert fused.image.shape == (121, 163, 3)
    assert fused.thermal_registered.shape == (121, 163)


@pytest.mark.parametrize("wanted", ["rgb8", "bgr8", "mono8"])
@pytest.mark.parametrize("given", ["rgb8", "bgr8", "mono8"])
def test_each_output_encoding_from_each_input(weights, given, wanted):
    pixel = {"rgb8": [200, 60, 90], "bgr8": [90, 60, 200], "mono8": 105}[given]
    data = np.empty(SIZE if given == "mono8" else (*SIZE, 3), np.uint8)
    data[:] = pixel
    pipeline = make(weights, output__encoding=wanted, output__thermal_weight=0.0)
    fused = pipeline.process(FramePair(thermal_frame(), Frame(0, data, given)))
    assert fused.encoding == wanted
    if wanted == "mono8":
        expected = [105]  # 0.299 * 200 + 0.587 * 60 + 0.114 * 90 = 105.3
    elif given == "mono8":
        expected = [105, 105, 105]
    else:
        expected = [200, 60, 90] if wanted == "rgb8" else [90, 60, 200]
    assert fused.image.shape == (SIZE if wanted == "mono8" else (*SIZE, 3))
    assert np.unique(fused.image.reshape(-1, len(expected)), axis=0).tolist() == [expected]


def test_results_stay_as_they_are_while_the_next_is_made(weights):
    pipeline = make(weights)
    first = pipeline.process(FramePair(thermal_frame(), rgb_frame()))
    kept = first.image.copy()
    pipeline.process(FramePair(thermal_frame(1, seed=8), rgb_frame(1, seed=9)))
    np.testing.assert_array_equal(first.image, kept)


def test_the_same_frames_give_the_same_bytes(weights):
    pairs = [FramePair(thermal_frame(i * 33_000_000, seed=i), rgb_frame(i * 33_000_000, seed=i)) for i in range(4)]
    runs = [[pipeline.process(pair).image.tobytes() for pair in pairs] for pipeline in (make(weights), make(weights))]
    assert runs[0] == runs[1]


def test_what_is_told_to_forget_keeps_nothing_of_the_earlier_scene(weights):
    pair = FramePair(thermal_frame(33_000_000), rgb_frame(33_000_000))
    fresh = make(weights).process(pair).image
    pipeline, thermal = make(weights), thermal_frame()
    hotter = thermal.data.copy()
    hotter[:30] += np.uint16(900)
    hotter = FramePair(replace(thermal, data=hotter), rgb_frame())
    pipeline.process(hotter)
    assert (pipeline.process(pair).image != fresh).any()
    pipeline.process(hotter)
    pipeline.reset_temporal()
    np.testing.assert_array_equal(pipeline.process(pair).image, fresh)


def test_dynamic_options_take_effect_between_frames(weights):
    pipeline = make(weights)
    pair = FramePair(thermal_frame(), rgb_frame())
    assert (pipeline.process(pair).image != pair.rgb.data).any()
    changed = build({"output.thermal_weight": 0.0, "agc.mode": "fixed", "agc.fixed_high": 30_000.0}, pipeline.config)
    np.testing.assert_array_equal(pipeline.process(pair, changed).image, pair.rgb.data)
    assert pipeline.status().agc_range == (0.0, 30_000.0)


def test_what_needs_a_new_pipeline_is_refused(weights):
    pipeline = make(weights)
    pair = FramePair(thermal_frame(), rgb_frame())
    for change in ({"model.precision": "fp32"}, {"registration.mode": "homography"}, {"output.grid": "thermal"}):
        with pytest.raises(ConfigError, match=f"{next(iter(change))} cannot change .* make a new one"):
            pipeline.process(pair, build(change, pipeline.config))
    assert pipeline.process(pair).image.shape == (*SIZE, 3)


def test_a_bad_frame_is_an_error_and_the_next_pair_succeeds(weights):
    pipeline = make(weights)
    good = FramePair(thermal_frame(), rgb_frame())
    bad = [
        replace(good, thermal=rgb_frame()),
        replace(good, rgb=thermal_frame()),
        replace(good, rgb=rgb_frame(size=(8, 8))),
        replace(good, thermal=Frame(0, np.zeros((0, 0), np.uint16), "mono16")),
    ]
    for pair in bad:
        with pytest.raises(ImageError):
            pipeline.process(pair)
        assert pipeline.process(good).image.shape == (*SIZE, 3)


def test_a_thermal_frame_without_any_value_is_fused_as_black(weights):
    nothing = Frame(0, np.full(SIZE, np.nan, np.float32), "32FC1")
    assert make(weights).process(FramePair(nothing, rgb_frame())).image.shape == (*SIZE, 3)


def test_memory_is_reused_from_frame_to_frame(weights):
    if not keep_large_buffers():
        pytest.skip("the C library is not glibc, whose allocator the pipeline sets up")
    pipeline, size = make(weights), (512, 640)
    pairs = [FramePair(thermal_frame(i, size, i), rgb_frame(i, size=size, seed=i)) for i in range(2)]

    def faults_of(count):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for index in range(count):
            pipeline.process(pairs[index % 2])
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    faults_of(5)
    assert faults_of(20) < 20 * 160  # half of one plane of float32 a frame; mapping all anew makes 3,000


def test_another_thread_takes_the_threads_asked_for(weights):
    before = torch.get_num_threads()
    try:
        for threads in (2, 1):
            make(weights, model__threads=threads)
            with ThreadPoolExecutor(1) as worker:
                assert worker.submit(torch.get_num_threads).result() == threads
    finally:
        torch.set_num_threads(before)


def test_defaults_are_a_working_configuration():
    pipeline = FusionPipeline(replace(Config(), model=build({"model.device": "cpu", "model.threads": 1}).model))
    pipeline.warm_up(SIZE)
    assert pipeline.process(FramePair(thermal_frame(), rgb_frame())).image.shape == (*SIZE, 3)
    pipeline.close()
