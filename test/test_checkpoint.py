"""Weights on disk: round trip, and every way in which the two files can be wrong."""

import json

import pytest
import torch

from aenet_ros.core.errors import CheckpointError
from aenet_ros.fusion.checkpoint import PACKAGED, load_checkpoint, save_checkpoint
from aenet_ros.fusion.network import AENet, AENetConfig, parameter_count


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(1)
    network = AENet(AENetConfig(width=8, levels=2))
    path = tmp_path / "small.safetensors"
    save_checkpoint(network, path, {"steps": 7})
    return network.eval(), path


def change_card(path, **values):
    card_file = path.with_suffix(".json")
    card_file.write_text(json.dumps({**json.loads(card_file.read_text()), **values}))


def test_round_trip(saved):
    network, path = saved
    loaded, card = load_checkpoint(path)
    assert not loaded.training
    assert card["steps"] == 7
    assert card["parameters"] == parameter_count(network)
    thermal, luma = torch.rand(2, 1, 1, 32, 32)
    with torch.inference_mode():
        assert torch.allclose(loaded(thermal, luma), network(thermal, luma), atol=1e-6)


def test_packaged_weights_are_small_and_say_what_they_are():
    network, card = load_checkpoint()
    assert PACKAGED.stat().st_size <= 72_000
    assert parameter_count(network) <= 17_600
    assert {one["name"] for one in card["data"]} >= {"roadscene", "m3svd_video/0117_1605"}
    assert all(one["terms"] for one in card["data"])


def test_every_single_flipped_byte_is_noticed(saved):
    _, path = saved
    content = bytearray(path.read_bytes())
    for at in (0, 9, len(content) // 2, len(content) - 1):
        damaged = bytearray(content)
        damaged[at] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="SHA-256"):
            load_checkpoint(path)


def test_missing_files(saved, tmp_path):
    _, path = saved
    with pytest.raises(CheckpointError, match="same folder"):
        load_checkpoint(tmp_path / "none.safetensors")
    path.unlink()
    with pytest.raises(CheckpointError, match="No such file"):
        load_checkpoint(path)


@pytest.mark.parametrize("text", ["not json", "[]", '{"format": "other-9"}'])
def test_wrong_cards(saved, text):
    _, path = saved
    path.with_suffix(".json").write_text(text)
    with pytest.raises(CheckpointError, match="card"):
        load_checkpoint(path)


def test_other_architecture(saved):
    _, path = saved
    change_card(path, architecture={"width": 16, "levels": 2, "block": "plain", "downsampling": "avg"})
    with pytest.raises(CheckpointError, match="architecture"):
        load_checkpoint(path)
    change_card(path, architecture={"width": "8"})
    with pytest.raises(CheckpointError, match="architecture"):
        load_checkpoint(path)


def test_wrong_suffix(tmp_path):
    with pytest.raises(CheckpointError, match="safetensors"):
        save_checkpoint(AENet(), tmp_path / "weights.pt", {})
