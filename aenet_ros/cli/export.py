"""Write the network as ONNX, torch.export or TorchScript, for other runtimes and for TensorRT on a Jetson.

The file takes any size. It is run by its own runtime on several sizes and compared with the network; one that differs is not written.
By default it holds the network: thermal and luma, float32 [1, 1, H, W] in 0..1, to fused luma like them. With --whole it holds luma
split and merge too: thermal uint8 [H, W] and rgb uint8 [H, W, 3] to the fused picture uint8 [H, W, 3]. The node runs an ONNX file
without --whole by model.backend=onnx model.weights=FILE. ONNX needs the extra [export].

examples:
  aenet export -o aenet.onnx
  aenet export --whole -o aenet_whole.onnx --sizes 640x512,640x512,640x512
  aenet export -o aenet.pt2                 # torch.export; .pt for TorchScript
"""

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aenet_ros.cli.common import print_json, remark
from aenet_ros.core.errors import ConfigError

if TYPE_CHECKING:
    from aenet_ros.fusion.export import Exported

SUFFIXES = {"onnx": ".onnx", "torchexport": ".pt2", "torchscript": ".pt"}
SIZES = "64x64,640x512,1920x1080"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("-o", "--out", metavar="FILE", type=Path, help="the file to write (default: aenet with the format's suffix)")
    parser.add_argument("--format", choices=tuple(SUFFIXES), help="default: by the suffix of -o (.onnx, .pt2, .pt), else onnx")
    parser.add_argument("--weights", metavar="FILE", default="", help="a .safetensors file with its card (default: the packaged weights)")
    parser.add_argument("--whole", action="store_true", help="with luma split and merge: pictures in, picture out")
    parser.add_argument(
        "--sizes",
        metavar="MIN,USUAL,MAX",
        default=SIZES,
        help="sizes WIDTHxHEIGHT that the TensorRT engine of the printed command is to take (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="the report as JSON on stdout")


def run(args: argparse.Namespace) -> int:
    """Export; 0 when the file is written."""
    form, path = _form_and_path(args)
    sizes = [_size(text) for text in args.sizes.split(",")]
    if len(sizes) != 3 or any(list(side) != sorted(side) for side in zip(*sizes, strict=True)):
        raise ConfigError(f"--sizes {args.sizes}: give the smallest, the usual and the largest size, for example {SIZES}")
    from aenet_ros.fusion.checkpoint import load_checkpoint
    from aenet_ros.fusion.export import export_network

    network, card = load_checkpoint(args.weights)
    if form == "torchexport":
        remark("torch.export takes up to a minute")
    done = export_network(network, card, path, form, args.whole)
    command = trtexec_command(path, args.whole, sizes) if form == "onnx" else ""
    if args.json:
        print_json(_report(done, str(card["sha256"]), command))
    else:
        _show(done, command)
    return 0


def _form_and_path(args: argparse.Namespace) -> tuple[str, Path]:
    by_suffix = {suffix: form for form, suffix in SUFFIXES.items()}
    if args.out is None:
        form = args.format or "onnx"
        return form, Path(("aenet_whole" if args.whole else "aenet") + SUFFIXES[form])
    form = args.format or by_suffix.get(args.out.suffix)
    if form is None or SUFFIXES[form] != args.out.suffix:
        raise ConfigError(
            f"-o {args.out}: name a {form or 'known'} file with the suffix {SUFFIXES[form] if form else '.onnx, .pt2 or .pt'}"
        )
    return form, args.out


def _size(text: str) -> tuple[int, int]:
    """(height, width) of "640x512"."""
    width, x, height = text.strip().partition("x")
    if not x or not width.isdecimal() or not height.isdecimal():
        raise ConfigError(f"--sizes {text}: give sizes as WIDTHxHEIGHT, for example {SIZES}")
    return int(height), int(width)


def trtexec_command(path: Path, whole: bool, sizes: list[tuple[int, int]]) -> str:
    """The command that builds a TensorRT engine of the file for sizes (height, width) smallest, usual, largest."""
    from aenet_ros.fusion.export import input_names, input_shapes

    words = ["trtexec", f"--onnx={path}"]
    for option, size in zip(("min", "opt", "max"), sizes, strict=True):
        shapes = zip(input_names(whole), input_shapes(whole, size), strict=True)
        words.append(f"--{option}Shapes=" + ",".join(f"{name}:{'x'.join(map(str, shape))}" for name, shape in shapes))
    words += ["--fp16", f"--saveEngine={path.with_suffix('.engine')}"]
    return " ".join(shlex.quote(word) for word in words)


def _report(done: "Exported", weights_sha256: str, command: str) -> dict[str, Any]:
    return {
        "file": str(done.path),
        "format": done.form,
        "holds": "whole" if done.whole else "network",
        "bytes": done.path.stat().st_size,
        "sha256": done.sha256,
        "weights_sha256": weights_sha256,
        "checked_with": done.runtime,
        "largest_difference": max(done.differences.values()),
        "differences_by_size": done.differences,
        "trtexec": command,
    }


def _show(done: "Exported", command: str) -> None:
    print(f"written: {done.path} ({done.path.stat().st_size / 1000:.0f} kB, SHA-256 {done.sha256[:12]})")
    worst = max(done.differences.values())
    print(f"largest difference from torch, by {done.runtime}, on {', '.join(done.differences)}: {worst:.2g} grey levels")
    if command:
        print(f"\nTensorRT, to be run on the machine that will use the engine (Jetson: /usr/src/tensorrt/bin/trtexec):\n  {command}")
        if not done.whole:
            print(f"\nthis package's node: model.backend:=onnx model.weights:={done.path.resolve()}")
