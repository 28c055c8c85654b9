"""Checkpoint files: safetensors weights with a JSON card beside them.

The card holds the architecture and the SHA-256 of the weights. Loading checks both, is strict and never unpickles.
An ONNX file of `aenet export` has a card of the same kind.
"""

import hashlib
import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from aenet_ros.core.errors import CheckpointError, ConfigError, first_line
from aenet_ros.core.files import write_atomic
from aenet_ros.fusion.network import AENet, AENetConfig, parameter_count

FORMAT = "aenet-1"
ONNX_FORMAT = "aenet-onnx-1"
PACKAGED = Path(__file__).parent / "weights" / "aenet.safetensors"


def card_path(weights: Path) -> Path:
    """The path of a file's card: x.json for x.safetensors, x.onnx.json for x.onnx (both may be in one folder)."""
    return weights.with_name(weights.name + ".json") if weights.suffix == ".onnx" else weights.with_suffix(".json")


def save_checkpoint(network: AENet, path: str | Path, card: dict[str, Any]) -> None:
    """Write float32 weights to ``path`` (.safetensors) and the card beside it.

    ``card`` holds any JSON values; format, architecture, parameters and sha256 are added here.
    """
    weights = Path(path)
    if weights.suffix != ".safetensors":
        raise CheckpointError(f"{weights}: weights are written as .safetensors; give a name with this suffix")
    tensors = {name: value.detach().to("cpu", torch.float32).contiguous() for name, value in network.state_dict().items()}
    about = {"architecture": asdict(network.config), "parameters": parameter_count(network)}
    write_with_card(weights, save(tensors, metadata={"format": FORMAT}), {**card, "format": FORMAT, **about})


def write_with_card(path: Path, content: bytes, card: dict[str, Any]) -> dict[str, Any]:
    """Write a file and its card, each atomically; the card with the content's ``sha256``, as it is returned."""
    full = {**card, "sha256": hashlib.sha256(content).hexdigest()}
    write_atomic(path, content)
    write_atomic(card_path(path), json.dumps(full, indent=2) + "\n")
    return full


def load_checkpoint(path: str | Path | None = None) -> tuple[AENet, dict[str, Any]]:
    """The network (CPU, float32, eval mode, channels last) and the card of ``path``; None or "" loads the packaged weights.

    Raises CheckpointError if a file is missing or damaged, or does not match the card's SHA-256 or architecture.
    """
    weights = Path(path) if path else PACKAGED
    if weights.suffix == ".onnx":
        raise CheckpointError(f"{weights} is an ONNX file; set model.backend: onnx, or give .safetensors")
    content, card = _read_verified(weights, FORMAT)
    try:
        network = AENet(_architecture(card, weights))
        network.load_state_dict(load(content), strict=True)
    except (SafetensorError, RuntimeError, ConfigError) as error:
        raise CheckpointError(
            f"{weights}: the weights do not fit the card's architecture ({first_line(error)}); use both files of the same training"
        ) from error
    return network.eval().to(memory_format=torch.channels_last), card  # type: ignore[call-overload]


def load_onnx(path: str | Path) -> tuple[bytes, dict[str, Any]]:
    """The content and the card of an ONNX file of `aenet export`.

    Raises CheckpointError if a file is missing, does not match the card's SHA-256, or was exported with --whole.
    """
    if not path:
        raise CheckpointError("model.backend onnx needs a file: run `aenet export -o aenet.onnx` and set model.weights to it")
    file = Path(path)
    if file.suffix != ".onnx":
        raise CheckpointError(f"{file} is not an ONNX file; set model.backend: torch, or give the .onnx file of `aenet export`")
    content, card = _read_verified(file, ONNX_FORMAT)
    if card.get("whole"):
        raise CheckpointError(f"{file} includes luma split and merge, which the node does itself; export it without --whole")
    return content, card


def _read_verified(path: Path, form: str) -> tuple[bytes, dict[str, Any]]:
    """Return a file's content, checked against its card, and the card."""
    card_file = card_path(path)
    try:
        card = json.loads(card_file.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{card_file}: {error.strerror or error}; the card must be in the same folder as the weights") from error
    except ValueError as error:
        raise CheckpointError(f"{card_file}: not a JSON card ({error}); copy it again from the training folder") from error
    if not isinstance(card, dict) or card.get("format") != form:
        writer = "train" if form == FORMAT else "export"
        raise CheckpointError(f"{card_file}: not a card of format {form}; use files written by `aenet {writer}`")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror or error}; check model.weights") from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != card.get("sha256"):
        raise CheckpointError(
            f"{path}: SHA-256 {digest[:12]} differs from the card's {str(card.get('sha256'))[:12]}; copy both files again"
        )
    return content, card


def _architecture(card: dict[str, Any], weights: Path) -> AENetConfig:
    values = card.get("architecture")
    types = {item.name: type(item.default) for item in fields(AENetConfig)}
    if not isinstance(values, dict) or set(values) != set(types) or any(type(values[name]) is not kind for name, kind in types.items()):
        raise CheckpointError(f"{weights}: the card's architecture {values} does not fit this version, which needs {', '.join(types)}")
    return AENetConfig(**values)
