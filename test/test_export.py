"""`aenet export`: ONNX files, run by ONNX Runtime at several sizes; and the ONNX backend of Fuser."""

import json
import re
import sys

import numpy as np
import pytest
import torch

from aenet_ros.cli.main import main
from aenet_ros.config import ModelConfig
from aenet_ros.core.errors import CheckpointError, ConfigError, DeviceError
from aenet_ros.fusion.checkpoint import load_checkpoint, save_checkpoint
from aenet_ros.fusion.fuser import Fuser
from aenet_ros.fusion.network import AENet, AENetConfig
from aenet_ros.fusion.onnx_network import export_network, provider_options
from aenet_ros.fusion.placement import choose_placement

SIZES = [(16, 16), (17, 31), (64, 96), (101, 77), (333, 250)]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A small untrained network, away from where training starts."""
    torch.set_num_threads(1)
    torch.manual_seed(7)
    network = AENet(AENetConfig(width=8, levels=2))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_checkpoint(network, path, {"name": "small"})
    return path


@pytest.fixture(scope="module")
def onnx():
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (the extra [export])")
    return pytest.importorskip("onnx", reason="onnx is not installed (the extra [export])")


@pytest.fixture(scope="module")
def onnx_file(onnx, weights, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "small.onnx"
    assert main(["export", "--weights", str(weights), "-o", str(path)]) == 0
    return path


@pytest.fixture(scope="module")
def whole_file(onnx, weights, tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "whole.onnx"
    assert main(["export", "--whole", "--weights", str(weights), "-o", str(path)]) == 0
    return path


def pair(size, seed=0):
    random = np.random.default_rng(seed)
    return random.random(size, np.float32), random.integers(0, 256, (*size, 3)).astype(np.uint8)


def session(path):
    import onnxruntime

    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def planes(size):
    return torch.rand(2, 1, 1, *size, generator=torch.Generator().manual_seed(size[0]))


@torch.inference_mode()
def by_network(weights, thermal, luma):
    return load_checkpoint(weights)[0](thermal, luma).numpy()


@pytest.mark.parametrize("size", SIZES)
def test_onnx_gives_the_networks_planes_at_any_size(onnx_file, weights, size):
    thermal, luma = planes(size)
    (fused,) = session(onnx_file).run(["fused"], {"thermal": thermal.numpy(), "luma": luma.numpy()})
    np.testing.assert_allclose(fused, by_network(weights, thermal, luma), atol=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_whole_onnx_gives_the_fusers_picture_at_any_size(whole_file, weights, size):
    thermal, rgb = pair(size)
    thermal = np.rint(thermal * 255).astype(np.uint8)
    (fused,) = session(whole_file).run(["fused"], {"thermal": thermal, "rgb": rgb})
    expected = Fuser(ModelConfig(weights=str(weights), device="cpu")).fuse(thermal, rgb)
    assert fused.dtype == np.uint8
    difference = np.abs(fused.astype(int) - expected)
    assert difference.max() <= 2  # a luma that rounds the other way, times the gain of the network
    assert (difference > 0).mean() < 0.02


def test_the_outputs_have_named_shapes(onnx, onnx_file, whole_file):
    shapes = {}
    for path in (onnx_file, whole_file):
        (output,) = onnx.load(path).graph.output
        shapes[path.name] = [side.dim_param or side.dim_value for side in output.type.tensor_type.shape.dim]
    assert shapes == {"small.onnx": [1, 1, "height", "width"], "whole.onnx": ["height", "width", 3]}


def test_the_file_says_what_it_is(onnx, onnx_file, weights):
    properties = {item.key: item.value for item in onnx.load(onnx_file).metadata_props}
    card = json.loads(weights.with_suffix(".json").read_text())
    assert properties["weights_sha256"] == card["sha256"]
    assert properties["name"] == "small"
    assert properties["holds"] == "network"
    assert properties["aenet_ros"]
    assert json.loads((onnx_file.parent / "small.onnx.json").read_text())["weights_sha256"] == card["sha256"]


@pytest.mark.parametrize(
    ("options", "shapes"),
    [
        (
            [],
            "--minShapes=thermal:1x1x64x64,luma:1x1x64x64 --optShapes=thermal:1x1x512x640,luma:1x1x512x640 "
            "--maxShapes=thermal:1x1x1080x1920,luma:1x1x1080x1920",
        ),
        (
            ["--whole", "--sizes", "320x256,640x512,640x512"],
            "--minShapes=thermal:256x320,rgb:256x320x3 --optShapes=thermal:512x640,rgb:512x640x3 --maxShapes=thermal:512x640,rgb:512x640x3",
        ),
    ],
)
def test_the_report_has_the_tensorrt_command_and_the_differences(onnx, weights, tmp_path, capsys, options, shapes):
    path = tmp_path / "x.onnx"
    assert main(["export", "--weights", str(weights), "-o", str(path), "--json", *options]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["trtexec"] == f"trtexec --onnx={path} {shapes} --fp16 --saveEngine={tmp_path / 'x.engine'}"
    assert report["largest_difference"] == max(report["differences_by_size"].values()) < 1.5
    assert {"640x480", "77x101"} <= set(report["differences_by_size"])
    names = [item.split(":")[0] for item in shapes.split(" ")[0].partition("=")[2].split(",")]
    assert [node.name for node in session(path).get_inputs()] == names


class Moody(AENet):
    """A network that no trace can follow: what it does depends on the size."""

    def forward(self, thermal, luma):
        """See AENet."""
        fused = super().forward(thermal, luma)
        return 1.0 - fused if luma.shape[3] > 500 else fused


def test_a_file_that_differs_from_the_network_is_not_written(onnx, tmp_path):
    path = tmp_path / "moody.onnx"
    with pytest.raises(CheckpointError, match=r"differs from torch by .* grey levels at 6(40x480|40x512).*nothing was written"):
        export_network(Moody(AENetConfig(width=8, levels=2)).eval(), {}, path, whole=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-o", "x.bin"], r"x\.bin.*ends in \.onnx"),
        (["-o", "x.pt"], r"x\.pt.*only ONNX"),
        (["--sizes", "640x512"], "smallest, the typical and the largest"),
        (["--sizes", "640x512,320x256,1920x1080"], "smallest, the typical and the largest"),
        (["--sizes", "a,b,c"], "WIDTHxHEIGHT"),
        (["--weights", "none.safetensors"], r"none\.json"),
    ],
)
def test_nonsense_is_refused_with_a_sentence(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["export", *words]) == 1
    assert re.search(message, capsys.readouterr().err)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_a_missing_package_is_named(package, weights, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, package, None)
    assert main(["export", "--weights", str(weights), "-o", str(tmp_path / "x.onnx")]) == 1
    assert "pip install onnxruntime" in capsys.readouterr().err or package == "onnx"
    assert list(tmp_path.iterdir()) == []


# The ONNX backend of Fuser.


@pytest.fixture(scope="module")
def by_onnx(onnx_file):
    return Fuser(ModelConfig(backend="onnx", weights=str(onnx_file), device="cpu", threads=1))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("options", [{}, {"thermal_weight": 0.4}, {"order": "bgr"}, {"masked": True}])
def test_the_onnx_backend_gives_torchs_picture(by_onnx, weights, size, options):
    thermal, rgb = pair(size)
    options = dict(options)
    if options.pop("masked", False):
        options["weight"] = np.tile(np.linspace(0, 1, size[1], dtype=np.float32), (size[0], 1))
    by_torch = Fuser(ModelConfig(weights=str(weights), device="cpu"))
    difference = np.abs(by_onnx.fuse(thermal, rgb, **options).astype(int) - by_torch.fuse(thermal, rgb, **options))
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.01


def test_the_onnx_backend_says_what_it_runs(by_onnx, weights):
    assert (by_onnx.device, by_onnx.precision, by_onnx.fallback) == ("cpu", "fp32", "")
    assert by_onnx.card["weights_sha256"] == load_checkpoint(weights)[1]["sha256"]


def test_a_tampered_onnx_file_is_refused(onnx_file, tmp_path):
    content = bytearray(onnx_file.read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "x.onnx").write_bytes(content)
    (tmp_path / "x.onnx.json").write_bytes((onnx_file.parent / "small.onnx.json").read_bytes())
    with pytest.raises(CheckpointError, match="SHA-256"):
        Fuser(ModelConfig(backend="onnx", weights=str(tmp_path / "x.onnx"), device="cpu"))


def test_an_onnx_file_without_its_card_is_refused(onnx_file, tmp_path):
    (tmp_path / "x.onnx").write_bytes(onnx_file.read_bytes())
    with pytest.raises(CheckpointError, match=r"x\.onnx\.json.*same folder"):
        Fuser(ModelConfig(backend="onnx", weights=str(tmp_path / "x.onnx"), device="cpu"))


def test_files_of_the_wrong_kind_are_refused(onnx_file, whole_file, weights):
    for model, message in [
        (ModelConfig(backend="onnx", weights=str(whole_file)), "without --whole"),
        (ModelConfig(backend="onnx"), "aenet export"),
        (ModelConfig(backend="onnx", weights=str(weights)), "not an ONNX file"),
        (ModelConfig(weights=str(onnx_file)), "model.backend: onnx"),
    ]:
        with pytest.raises(CheckpointError, match=message):
            Fuser(model)


@pytest.mark.parametrize(("device", "provider"), [("cuda", "CUDAExecutionProvider"), ("tensorrt", "TensorrtExecutionProvider")])
def test_a_provider_that_is_not_there_is_said_or_refused(onnx_file, device, provider):
    import onnxruntime

    if provider in onnxruntime.get_available_providers():
        pytest.skip(f"this ONNX Runtime has the {provider}")
    fuser = Fuser(ModelConfig(backend="onnx", weights=str(onnx_file), device=device))
    assert fuser.device == "cpu"
    assert fuser.fallback.startswith(f"on cpu instead of {device}: this ONNX Runtime is built without {provider}")
    with pytest.raises(DeviceError, match=r"install onnxruntime-gpu for this GPU, or set model\.allow_cpu"):
        Fuser(ModelConfig(backend="onnx", weights=str(onnx_file), device=device, allow_cpu=False))
    assert choose_placement(ModelConfig(backend="onnx", device="auto")) == ("cpu", "fp32", "")


def test_an_unknown_device_names_tensorrt_too(onnx):
    with pytest.raises(ConfigError, match="give auto, cpu, cuda, tensorrt or cuda:N"):
        choose_placement(ModelConfig(backend="onnx", device="npu"))


def test_providers_are_asked_for_best_first(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert provider_options("cpu", "fp32") == [("CPUExecutionProvider", {})]
    assert provider_options("cuda:1", "fp32") == [("CUDAExecutionProvider", {"device_id": 1}), ("CPUExecutionProvider", {})]
    first, *rest = provider_options("tensorrt:0", "fp16")
    assert first[0] == "TensorrtExecutionProvider"
    assert first[1]["trt_fp16_enable"] is True
    assert first[1]["trt_engine_cache_path"] == str(tmp_path / "aenet_ros" / "tensorrt")
    assert [name for name, _ in rest] == ["CUDAExecutionProvider", "CPUExecutionProvider"]
