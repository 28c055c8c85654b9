"""Export the network as ONNX, for other runtimes and for TensorRT on a Jetson.

The file accepts any picture size. ONNX Runtime runs it at several sizes; if a result differs from torch, the file is not written.
By default the file holds the network: thermal and luma, float32 [1, 1, H, W] in 0..1, to fused luma of the same shape. With --whole
it also holds luma split and merge: thermal uint8 [H, W] and rgb uint8 [H, W, 3] to the fused picture uint8 [H, W, 3].
The node runs a file exported without --whole: model.backend=onnx model.weights=FILE. Needs onnx and onnxruntime.

examples:
  aenet export -o aenet.onnx
  aenet export --whole -o aenet_whole.onnx --sizes 640x512,640x512,640x512
"""

import argparse
import shlex
from pathlib import Path
from typing import Any

from aenet_ros.cli.common import parse_sizes, print_json
from aenet_ros.core.errors import ConfigError

SIZES = "64x64,640x512,1920x1080"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("-o", "--out", metavar="FILE", type=Path, help="the .onnx file to write (default: aenet.onnx or aenet_whole.onnx)")
    parser.add_argument("--weights", metavar="FILE", default="", help="a .safetensors file with its card (default: the packaged weights)")
    parser.add_argument("--whole", action="store_true", help="include luma split and merge: pictures in, picture out")
    parser.add_argument(
        "--sizes",
        metavar="MIN,TYPICAL,MAX",
        default=SIZES,
        help="picture sizes WIDTHxHEIGHT for the printed TensorRT command (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON on stdout")


def run(args: argparse.Namespace) -> int:
    """Export the network; return 0 when the file is written."""
    path = args.out or Path("aenet_whole.onnx" if args.whole else "aenet.onnx")
    if path.suffix != ".onnx":
        raise ConfigError(f"-o {path}: only ONNX is written; give a name that ends in .onnx")
    sizes = parse_sizes(args.sizes)
    if len(sizes) != 3 or any(list(side) != sorted(side) for side in zip(*sizes, strict=True)):
        raise ConfigError(f"--sizes {args.sizes}: give the smallest, the typical and the largest size, for example {SIZES}")
    from aenet_ros.fusion.checkpoint import load_checkpoint
    from aenet_ros.fusion.onnx_network import export_network

    network, card = load_checkpoint(args.weights)
    exported = export_network(network, card, path, args.whole)
    report: dict[str, Any] = {
        "file": str(path),
        "format": "onnx",
        "bytes": path.stat().st_size,
        **{name: exported[name] for name in ("holds", "sha256", "weights_sha256", "checked_with")},
        "largest_difference": max(exported["differences"].values()),
        "differences_by_size": exported["differences"],
        "trtexec": trtexec_command(path, args.whole, sizes),
    }
    if args.json:
        print_json(report)
        return 0
    print(f"written: {path} ({report['bytes'] / 1000:.0f} kB, SHA-256 {report['sha256'][:12]})")
    sizes_checked = ", ".join(exported["differences"])
    print(f"largest difference from torch: {report['largest_difference']:.2g} grey levels ({report['checked_with']}; {sizes_checked})")
    print(f"\nTensorRT (run it on the machine that will use the engine; on Jetson: /usr/src/tensorrt/bin/trtexec):\n  {report['trtexec']}")
    if not args.whole:
        print(f"\nin the node: model.backend:=onnx model.weights:={path.resolve()}")
    return 0


def trtexec_command(path: Path, whole: bool, sizes: list[tuple[int, int]]) -> str:
    """Return the command that builds a TensorRT engine for the sizes (height, width): smallest, typical, largest."""
    from aenet_ros.fusion.onnx_network import input_shapes

    words = ["trtexec", f"--onnx={path}"]
    for option, size in zip(("min", "opt", "max"), sizes, strict=True):
        shapes = input_shapes(whole, size).items()
        words.append(f"--{option}Shapes=" + ",".join(f"{name}:{'x'.join(map(str, shape))}" for name, shape in shapes))
    words += ["--fp16", f"--saveEngine={path.with_suffix('.engine')}"]
    return " ".join(shlex.quote(word) for word in words)
