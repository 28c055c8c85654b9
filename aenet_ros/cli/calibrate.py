"""Calibrate the thermal camera against the rgb camera.

Without --target: from about 20 or more pairs of different scenes with edges, in folders, videos or a bag (one minute of driving).
The result is a homography for registration.mode homography. It holds for distant scenes, or for one distance.
With --target: from views of a board that both cameras see (heat it, or use cut-outs in front of a warm plate).
The result is both lenses and the cameras' pose for registration.mode plane, which holds at any distance that is set.
With --start: a former calibration is refined from scenes, without a search. Where that file has both lenses, the rotation between the
cameras is estimated for mode plane; the translation is kept, and the scenes are taken to lie registration.plane_distance_m away.

The picture OUT.png shows thermal edges on the rgb picture, before and after. Nothing is written where the result cannot be trusted.

examples:
  aenet calibrate thermal/ rgb/ -o rig.yaml
  aenet calibrate drive.mcap -o rig.yaml --thermal-topic /ir/image
  aenet calibrate drive.mcap -o new.yaml --start rig.yaml
  aenet calibrate drive.mcap -o new.yaml --start lenses.yaml --set registration.plane_distance_m=20
  aenet calibrate board/thermal board/rgb -o rig.yaml --target checkerboard:8x6:0.04
  aenet calibrate board.mcap -o rig.yaml --target circles:4x11:0.03 --set registration.plane_distance_m=8
"""

import argparse
from pathlib import Path

from aenet_ros.cli.common import add_config_arguments, add_pairing_arguments, config_from, print_json, remark


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("thermal", metavar="THERMAL", type=Path, nargs="?", help="folder of thermal pictures, or video; or a bag")
    parser.add_argument("rgb", metavar="RGB", type=Path, nargs="?", help="folder of rgb pictures, or video")
    parser.add_argument("-o", "--out", metavar="YAML", type=Path, required=True, help="calibration to write, for registration.file")
    parser.add_argument("--force", action="store_true", help="overwrite what exists")
    parser.add_argument(
        "--target", metavar="KIND:COLSxROWS:METRES", help="checkerboard (inner corners, square side) or circles (asymmetric)"
    )
    parser.add_argument("--start", metavar="YAML", type=Path, help="a calibration to begin from: a homography, or lenses and pose")
    most_help = "most pairs to use, evenly spread (default: %(default)s)"
    parser.add_argument("--most-pairs", metavar="N", type=int, default=40, help=most_help)
    add_pairing_arguments(parser)
    parser.add_argument("--thermal-topic", metavar="TOPIC", default="", help="of a bag; default: found by names, encodings and values")
    parser.add_argument("--rgb-topic", metavar="TOPIC", default="", help="of a bag; default: found by names, encodings and values")
    parser.add_argument("--json", action="store_true", help="the result as JSON on stdout")
    add_config_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Calibrate; 0 where the result was written."""
    from aenet_ros.core.errors import ConfigError, SourceError
    from aenet_ros.core.progress import ProgressBar
    from aenet_ros.io.files import is_bag
    from aenet_ros.io.source import Source, cropped
    from aenet_ros.io.sources import open_source
    from aenet_ros.workbench.calibration.scenes import calibrate_scenes, collect, read_start, write_result
    from aenet_ros.workbench.calibration.targets import calibrate_target, parse_target

    config = config_from(args)
    target = parse_target(args.target) if args.target else None
    if target and args.start:
        raise ConfigError("--start is for scenes, --target for views of a board, which need no start; give one of the two")
    start = read_start(args.start) if args.start else None
    if args.most_pairs < 1:
        raise ConfigError(f"--most-pairs {args.most_pairs}: give 1 or more, better 20 to 40")
    picture = args.out.with_suffix(".png")
    for path in (args.out, picture):
        if path.exists() and not args.force:
            raise SourceError(f"{path} exists already; give another name, or --force to overwrite it")
    source: Source
    if args.thermal is not None and args.rgb is None and args.pairs is None and is_bag(args.thermal):
        from aenet_ros.io.bag_source import BagSource

        source = BagSource(args.thermal, config.sync, args.thermal_topic, args.rgb_topic)
    else:
        source = open_source(args.thermal, args.rgb, config.sync, in_order=args.in_order, pairs=args.pairs, force=args.force)
    if {path.resolve() for path in source.files} & {args.out.resolve(), picture.resolve()}:
        raise SourceError(f"{args.out} or {picture} is an input; give another name")
    if source.pairing:
        remark(source.pairing)
    source.inputs = config.input
    with ProgressBar("reading", "pair", source.total) as bar:
        named, remarks = collect(bar.follow(cropped(source)), args.most_pairs)
    for text in [*source.remarks, *remarks]:
        remark(text)
    pairs = [pair for _, pair in named]
    if target:
        report = calibrate_target(pairs, target, args.target)
    else:
        report = calibrate_scenes(pairs, start, config.registration.plane_distance_m)
    write_result(args.out, picture, named, config.registration, report)
    if args.json:
        print_json({"out": str(args.out), "picture": str(picture), **{key: value for key, value in report.items() if key != "content"}})
    else:
        print(report["words"])
        print(f"{args.out}: set registration.mode: {report['mode']} and registration.file: {args.out.resolve()}; look at {picture}")
    return 0
