"""Fuser: what holds for any weights is tested with an untrained network, what training brought with the packaged one."""

import cv2
import numpy as np
import pytest
import torch

import aenet_ros
from aenet_ros.config import ModelConfig
from aenet_ros.core.errors import CheckpointError, ConfigError, DeviceError, ImageError
from aenet_ros.core.frames import ThermalInput
from aenet_ros.fusion.blocks import is_traced
from aenet_ros.fusion.checkpoint import load_checkpoint, save_checkpoint
from aenet_ros.fusion.device_engine import DeviceEngine
from aenet_ros.fusion.engine import FusionJob
from aenet_ros.fusion.fuser import Fuser
from aenet_ros.fusion.network import AENet
from aenet_ros.fusion.placement import choose_placement

no_cuda_only = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
cuda_only = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(3)
    network = AENet()
    with torch.no_grad():  # far from the plain average, so that everything shows
        network.head.weight.normal_(0.0, 0.2)
    path = tmp_path_factory.mktemp("weights") / "untrained.safetensors"
    save_checkpoint(network, path, {})
    return path


@pytest.fixture(scope="module")
def fuser(weights):
    return Fuser(ModelConfig(weights=str(weights), device="cpu"))


def pair(size=(48, 64), seed=0):
    random = np.random.default_rng(seed)
    thermal = cv2.GaussianBlur(random.random(size, np.float32), (0, 0), 2)
    thermal = (thermal - thermal.min()) / (thermal.max() - thermal.min())
    return thermal, random.integers(30, 226, (*size, 3)).astype(np.uint8)


def expected_luma(weights, thermal, rgb):
    """Fused luma by the network alone, with luma by the formula."""
    luma = np.rint(rgb @ np.array([0.299, 0.587, 0.114])).astype(np.float32)
    network, _ = load_checkpoint(weights)
    with torch.inference_mode():
        fused = network(torch.from_numpy(thermal)[None, None], torch.from_numpy(luma / 255)[None, None])
    return luma, fused[0, 0].numpy() * 255


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"thermal": None}, "thermal is None: the file was not read"),
        ({"rgb": None}, "rgb is None: the file was not read"),
        ({"thermal": [[1, 2], [3, 4]]}, "thermal is a list; give a numpy array"),
        ({"rgb": torch.zeros(48, 64, 3, dtype=torch.uint8)}, "rgb is a Tensor; give a numpy array"),
        ({"rgb": "rgb.png"}, "rgb is a str"),
        ({"weight": [1.0]}, "weight is a list"),
        ({"thermal_weight": None}, "thermal_weight None"),
        ({"thermal_weight": "1"}, "thermal_weight 1"),
        ({"order": None}, "order 'None'"),
        ({"thermal": np.zeros((48, 64), object)}, "thermal is object"),
        ({"rgb": np.uint8(3)}, "rgb is a uint8"),
    ],
)
def test_what_is_no_picture_is_the_documented_error(fuser, changes, match):
    thermal, rgb = pair()
    with pytest.raises(ImageError, match=match):
        fuser.fuse(**{"thermal": thermal, "rgb": rgb, **changes})


@pytest.mark.parametrize("data", [None, [[1, 2], [3, 4]], "thermal.png"])
def test_a_frame_needs_an_array(data):
    with pytest.raises(ImageError, match=r"data is (None: the file was not read|a (list|str); give a numpy array)"):
        aenet_ros.Frame(0, data, "mono8")


@pytest.mark.parametrize("size", [(16, 16), (17, 31), (48, 64), (101, 77), (240, 320)])
def test_the_picture_is_rgb_plus_the_change_of_luma(fuser, weights, size):
    thermal, rgb = pair(size)
    luma, fused = expected_luma(weights, thermal, rgb)
    expected = np.clip(rgb + np.rint(fused - luma)[..., None], 0, 255)
    result = fuser.fuse(thermal, rgb)
    assert result.dtype == np.uint8
    assert result.shape == rgb.shape
    assert np.abs(result - expected).max() <= 2.0  # a luma that rounds the other way, times the gain of the network
    assert np.mean(result != expected) < 0.01
    assert np.abs(result.astype(int) - rgb).max() > 20


def test_a_torch_without_is_compiling_fuses(monkeypatch):
    """As torch 2.1 and 2.2 are, which Jetsons have."""
    monkeypatch.delattr(torch.compiler, "is_compiling")
    assert not is_traced()


def test_strength_is_the_share_of_the_change(fuser):
    thermal, rgb = pair()
    whole = fuser.fuse(thermal, rgb).astype(float) - rgb
    half = fuser.fuse(thermal, rgb, thermal_weight=0.5).astype(float) - rgb
    inner = np.abs(whole) < 25  # where nothing can saturate
    assert np.abs(half - whole / 2)[inner].max() <= 1.0
    np.testing.assert_array_equal(fuser.fuse(thermal, rgb, thermal_weight=0.0), rgb)


def test_outside_the_weight_the_picture_is_exactly_rgb(fuser):
    thermal, rgb = pair((96, 128))
    weight = np.zeros((96, 128), np.float32)
    weight[20:70, 30:90] = 1.0
    result = fuser.fuse(thermal, rgb, weight=weight)
    outside = weight == 0
    np.testing.assert_array_equal(result[outside], rgb[outside])
    assert (result != rgb)[~outside].mean() > 0.5


def test_a_weight_of_one_changes_nothing(fuser):
    thermal, rgb = pair()
    np.testing.assert_allclose(fuser.fuse(thermal, rgb, weight=np.ones((48, 64), np.float32)).astype(int), fuser.fuse(thermal, rgb), atol=1)


def test_what_lies_outside_the_weight_does_not_matter(fuser):
    thermal, rgb = pair((96, 128))
    weight = np.zeros((96, 128), np.float32)
    weight[:, :64] = 1.0
    other = thermal.copy()
    other[:, 64:] = 0.0
    np.testing.assert_array_equal(fuser.fuse(thermal, rgb, weight=weight), fuser.fuse(other, rgb, weight=weight))


def test_uint8_thermal_is_its_share_of_255(fuser):
    thermal, rgb = pair()
    levels = np.rint(thermal * 255).astype(np.uint8)
    np.testing.assert_array_equal(fuser.fuse(levels, rgb), fuser.fuse(levels.astype(np.float32) / np.float32(255), rgb))


def test_bgr_in_is_bgr_out(fuser):
    thermal, rgb = pair()
    bgr = np.ascontiguousarray(rgb[..., ::-1])
    np.testing.assert_array_equal(fuser.fuse(thermal, bgr, order="bgr")[..., ::-1], fuser.fuse(thermal, rgb))


def test_a_grey_picture_stays_grey(fuser):
    thermal, rgb = pair()
    grey = rgb[..., 0].copy()
    result = fuser.fuse(thermal, grey)
    assert result.shape == grey.shape
    three = fuser.fuse(thermal, np.repeat(grey[..., None], 3, 2))
    np.testing.assert_array_equal(three, np.repeat(result[..., None], 3, 2))


def test_neither_input_is_written_to_and_results_are_our_own(fuser):
    thermal, rgb = pair()
    thermal.flags.writeable = rgb.flags.writeable = False
    first = fuser.fuse(thermal, rgb)
    kept = first.copy()
    other_thermal, other_rgb = pair(seed=1)
    fuser.fuse(other_thermal, other_rgb)
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(fuser.fuse(thermal, rgb), kept)


def test_sizes_may_change_from_picture_to_picture(fuser, weights):
    for size in ((48, 64), (33, 57), (48, 64)):
        np.testing.assert_array_equal(fuser.fuse(*pair(size)), Fuser(ModelConfig(weights=str(weights), device="cpu")).fuse(*pair(size)))


def test_warm_up_leaves_no_trace(fuser, weights):
    fresh = Fuser(ModelConfig(weights=str(weights), device="cpu"))
    fresh.warm_up((48, 64))
    np.testing.assert_array_equal(fresh.fuse(*pair()), fuser.fuse(*pair()))


def bad(**changes):
    thermal, rgb = pair()
    return {"thermal": thermal, "rgb": rgb} | changes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (bad(rgb=np.zeros((48, 64, 3), np.float32)), r"rgb is float32 \[48, 64, 3\]; give uint8"),
        (bad(rgb=np.zeros((48, 64, 4), np.uint8)), r"rgb is uint8 \[48, 64, 4\]"),
        (bad(thermal=np.zeros((48, 64), np.uint16)), "thermal is uint16.*ThermalAgc"),
        (bad(thermal=np.zeros((48, 64, 1), np.uint8)), "thermal is uint8"),
        (bad(thermal=np.zeros((40, 64), np.uint8)), "thermal is 64x40 and rgb 64x48.*Registration"),
        (bad(thermal=np.full((48, 64), 300.0, np.float32)), "thermal is 300 to 300"),
        (bad(thermal=np.full((48, 64), np.nan, np.float32)), "without NaN"),
        (bad(order="gbr"), "order 'gbr'"),
        (bad(thermal_weight=1.5), "thermal_weight 1.5"),
        (bad(thermal_weight=float("nan")), "thermal_weight nan"),
        (bad(weight=np.ones((48, 64))), "weight is float64"),
        (bad(weight=np.ones((4, 64), np.float32)), r"give float32 \[48, 64\]"),
        ({"thermal": np.zeros((15, 64), np.uint8), "rgb": np.zeros((15, 64, 3), np.uint8)}, "64x15 is too small"),
        ({"thermal": np.zeros((0, 0), np.uint8), "rgb": np.zeros((0, 0, 3), np.uint8)}, "0x0 is too small"),
    ],
)
def test_what_cannot_be_fused_is_refused_by_name(fuser, arguments, message):
    with pytest.raises(ImageError, match=message):
        fuser.fuse(arguments.pop("thermal"), arguments.pop("rgb"), **arguments)


def test_closed_is_closed(weights):
    fuser = Fuser(ModelConfig(weights=str(weights), device="cpu"))
    fuser.close()
    fuser.close()
    with pytest.raises(DeviceError, match="closed"):
        fuser.fuse(*pair())


def test_missing_weights_are_named():
    with pytest.raises(CheckpointError, match="no_such_file"):
        Fuser(ModelConfig(weights="no_such_file.safetensors", device="cpu"))


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "cuda:-1", ""])
def test_an_unknown_device_is_refused(device):
    with pytest.raises(ConfigError, match="give auto, cpu, cuda or cuda:N"):
        choose_placement(ModelConfig(device=device))


def test_cpu_as_asked_is_no_fallback():
    assert choose_placement(ModelConfig(device="cpu")) == ("cpu", "fp32", "")


@no_cuda_only
def test_without_cuda_auto_takes_the_cpu_and_cuda_says_that_it_fell_back():
    assert choose_placement(ModelConfig(device="auto")) == ("cpu", "fp32", "")
    device, precision, fallback = choose_placement(ModelConfig(device="cuda:1", precision="fp16"))
    assert (device, precision) == ("cpu", "fp32")
    assert fallback.startswith("on cpu instead of cuda:1: ")
    assert "fp32 instead of fp16" in fallback


def test_tensorrt_is_for_onnx_files():
    with pytest.raises(ConfigError, match=r"tensorrt needs model\.backend: onnx"):
        choose_placement(ModelConfig(device="tensorrt"))


@no_cuda_only
@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_without_cuda_the_cpu_can_be_refused(device):
    with pytest.raises(DeviceError, match="allow_cpu"):
        choose_placement(ModelConfig(device=device, allow_cpu=False))


@pytest.mark.parametrize("options", [{}, {"thermal_weight": 0.3}, {"order": "bgr"}])
@pytest.mark.parametrize("masked", [False, True])
def test_both_engines_give_the_same_picture(fuser, weights, options, masked):
    thermal, rgb = pair((50, 70))
    weight = None
    if masked:
        weight = np.tile(np.clip(np.linspace(-0.5, 1.5, 70, dtype=np.float32), 0, 1), (50, 1))
    engine = DeviceEngine(load_checkpoint(weights)[0], torch.device("cpu"), "fp32")
    for image in (rgb, np.ascontiguousarray(rgb[..., 1])):
        with torch.inference_mode():
            order = options.get("order", "rgb")
            job = FusionJob(ThermalInput(thermal, weight=weight), image, order, options.get("thermal_weight", 1.0), order)
            other = engine.submit(job).result()
        result = fuser.fuse(thermal, image, weight=weight, **options)
        assert np.abs(result.astype(int) - other).max() <= 1
        assert (result != other).mean() < 0.02


def test_a_weight_changed_in_place_takes_effect_on_a_device(weights):
    fuser = Fuser(ModelConfig(weights=str(weights), device="cpu"))
    fuser._engine = DeviceEngine(load_checkpoint(weights)[0], torch.device("cpu"), "fp32")
    thermal, rgb = pair()
    weight = np.ones(rgb.shape[:2], np.float32)
    assert (fuser.fuse(thermal, rgb, weight=weight) != rgb).any()
    weight[:] = 0.0
    np.testing.assert_array_equal(fuser.fuse(thermal, rgb, weight=weight), rgb)


@cuda_only
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_cuda_gives_the_cpus_picture_within_two_levels(fuser, weights, precision):
    on_cuda = Fuser(ModelConfig(weights=str(weights), device="cuda", precision=precision, allow_cpu=False))
    for size in ((48, 64), (101, 77), (512, 640)):
        thermal, rgb = pair(size)
        assert np.abs(on_cuda.fuse(thermal, rgb).astype(int) - fuser.fuse(thermal, rgb)).max() <= 2


@cuda_only
def test_cuda_out_of_memory_without_the_cpu_is_a_device_error(weights):
    on_cuda = Fuser(ModelConfig(weights=str(weights), device="cuda", allow_cpu=False))
    torch.cuda.set_per_process_memory_fraction(1e-4)
    try:
        with pytest.raises(DeviceError, match="out of memory"):
            on_cuda.fuse(*pair((4096, 4096)))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert on_cuda.fuse(*pair()).shape == (48, 64, 3)


@cuda_only
def test_cuda_out_of_memory_goes_on_on_the_cpu(fuser, weights):
    on_cuda = Fuser(ModelConfig(weights=str(weights), device="cuda"))
    torch.cuda.set_per_process_memory_fraction(1e-4)
    try:
        picture = on_cuda.fuse(*pair((4096, 4096)))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    np.testing.assert_array_equal(picture, fuser.fuse(*pair((4096, 4096))))
    assert "too little free memory" in on_cuda.fallback


@cuda_only
def test_cuda_frames_are_replayed_from_a_graph_and_sizes_in_turns_stay_right(fuser, weights):
    on_cuda = Fuser(ModelConfig(weights=str(weights), device="cuda", allow_cpu=False))
    sizes = [(48 + 16 * step, 64) for step in range(6)]
    for size in [*sizes, *sizes, *[sizes[0]] * 4, *[sizes[1]] * 4, sizes[0], sizes[1]]:
        thermal, rgb = pair(size)
        assert np.abs(on_cuda.fuse(thermal, rgb).astype(int) - fuser.fuse(thermal, rgb)).max() <= 2
    for size in sizes[:2]:
        thermal, rgb = pair(size)
        assert on_cuda._engine.plan(FusionJob(ThermalInput(thermal), rgb)).captured
    assert on_cuda.fallback == ""


def test_load_fuser_fuses_a_real_pair(shared_data):
    thermal_path = sorted((shared_data / "m3svd_stills" / "thermal").iterdir())[0]
    rgb = cv2.cvtColor(cv2.imread(str(shared_data / "m3svd_stills" / "rgb" / thermal_path.name)), cv2.COLOR_BGR2RGB)
    thermal = cv2.resize(cv2.imread(str(thermal_path), cv2.IMREAD_GRAYSCALE), rgb.shape[1::-1])
    fused = aenet_ros.load_fuser(device="cpu").fuse(thermal, rgb)
    assert fused.shape == rgb.shape
    luma = fused @ np.array([0.299, 0.587, 0.114])
    for source in (thermal.astype(float), rgb @ np.array([0.299, 0.587, 0.114])):  # the picture shows both
        assert np.corrcoef(luma.ravel(), source.ravel())[0, 1] > 0.2


def test_load_fuser_checks_its_arguments():
    with pytest.raises(ConfigError, match=r"model\.precision"):
        aenet_ros.load_fuser(precision="int8")
