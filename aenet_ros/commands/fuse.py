"""Fuse pictures, folders of pictures, videos, or a bag.

THERMAL and RGB are two pictures, two folders whose file names match, or two videos; one video alone shows thermal on
the left and rgb on the right. Pictures of a folder stand alone unless --sequence says that they are consecutive frames.
A rosbag (mcap, sqlite3, ROS 1) stands alone: its fused topics go into a new bag beside all other topics, for `ros2 bag play`
and Foxglove, or with --to pictures into a folder.
Nothing is overwritten without --force, and an interrupted run leaves only whole files.

examples:
  aenet fuse thermal.png rgb.png -o fused.png
  aenet fuse thermal/ rgb/ -o fused/
  aenet fuse thermal/ rgb/ -o fused.mp4 --sequence 25
  aenet fuse thermal.mp4 rgb.mp4 -o fused.mp4 --set sync.slop_ms=40
  aenet fuse drive.mcap -o drive_fused
  aenet fuse drive/ -o fused/ --to pictures --thermal-topic /ir/image --rgb-topic /zed/left/image
  aenet fuse raw16/ rgb/ -o fused/ --set agc.mode=fixed agc.unit=celsius agc.fixed_low=10 agc.fixed_high=45
"""

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aenet_ros.commands.common import add_config_arguments, config_from, print_json, remark

if TYPE_CHECKING:
    from aenet_ros.config import Config
    from aenet_ros.offline.sinks import Sink
    from aenet_ros.offline.sources import Source
    from aenet_ros.pipeline import FusionPipeline

MOST_LOST_SHOWN = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "thermal", metavar="THERMAL", type=Path, help="thermal picture (8 or 16 bit, float tiff), folder or video; or a bag"
    )
    parser.add_argument("rgb", metavar="RGB", type=Path, nargs="?", help="rgb picture, folder or video")
    parser.add_argument("-o", "--out", metavar="OUT", type=Path, required=True, help="picture, folder, video or bag to write")
    parser.add_argument("--force", action="store_true", help="overwrite what exists (never an input)")
    parser.add_argument("--in-order", action="store_true", help="pair the folders' files in their order instead of by name")
    parser.add_argument("--sequence", metavar="HZ", type=_rate, default=0.0, help="the folders hold consecutive frames at this rate")
    parser.add_argument("--format", choices=("png", "jpg", "tiff"), default="png", help="of pictures in a folder (default: %(default)s)")
    parser.add_argument("--weights", metavar="FILE", default=None, help="short for --set model.weights=FILE")
    parser.add_argument("--json", action="store_true", help="the summary as JSON on stdout")
    bags = parser.add_argument_group("bags")
    bags.add_argument("--thermal-topic", metavar="TOPIC", default="", help="else guessed by the names")
    bags.add_argument("--rgb-topic", metavar="TOPIC", default="", help="else guessed by the names")
    bags.add_argument("--to", choices=("bag", "pictures"), default="bag", help="where OUT has no video's suffix (default: %(default)s)")
    bags.add_argument("--keep", metavar="TOPIC", nargs="+", default=["all"], help="topics to copy into the new bag: all, none, or names")
    add_config_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Fuse; 0 if every pair was, 1 if some could not be read."""
    from aenet_ros.config import build

    config = config_from(args)
    if args.weights is not None:
        config = build({"model.weights": args.weights}, config)
    source, sink = _open(args, config)
    if not source.timed:
        config = build({"agc.smoothing_s": 0.0}, config)  # each picture's range is its own
    if not args.json:
        for text in source.remarks:
            remark(text)
    shown = len(source.remarks)

    from aenet_ros.pipeline import FusionPipeline  # takes seconds, so only when everything else is in order

    pipeline = FusionPipeline(config)
    try:
        with sink:
            report = _fuse(source, pipeline, sink)
    finally:
        pipeline.close()
    report = {"out": str(args.out), **report, "remarks": source.remarks}
    if args.json:
        print_json(report)
    else:
        _tell(report, shown)
    return 1 if report["lost"] or not report["fused"] else 0


def _open(args: argparse.Namespace, config: "Config") -> "tuple[Source, Sink]":
    from aenet_ros.offline.sinks import open_sink
    from aenet_ros.offline.sources import VIDEO_SUFFIXES, Source, is_bag, open_source

    source: Source
    if args.rgb is None and is_bag(args.thermal):
        from aenet_ros.offline.bag_sink import BagSink
        from aenet_ros.offline.bag_source import BagSource

        source = bag = BagSource(args.thermal, config.sync, args.thermal_topic, args.rgb_topic)
        if args.to == "bag" and args.out.suffix.lower() not in VIDEO_SUFFIXES:
            return source, BagSink(args.out, bag, keep=tuple(args.keep), force=args.force)
    else:
        source = open_source(args.thermal, args.rgb, config.sync, in_order=args.in_order, sequence_hz=args.sequence)
    return source, open_sink(args.out, source, force=args.force, suffix=f".{args.format}")


def _rate(text: str) -> float:
    value = float(text)
    if not 0.01 <= value <= 10_000:
        raise argparse.ArgumentTypeError(f"{text} is no frame rate; give 0.01 to 10000 Hz")
    return value


def _fuse(source: "Source", pipeline: "FusionPipeline", sink: "Sink") -> dict[str, Any]:
    from tqdm import tqdm

    from aenet_ros.errors import ImageError
    from aenet_ros.offline.sources import Lost

    lost: list[Lost] = []
    fused = 0
    begin = time.monotonic()
    with tqdm(total=source.total, unit="pair", desc="fusing", disable=None, leave=False) as bar:
        for item in source:
            if isinstance(item, Lost):
                lost.append(item)
            else:
                try:
                    sink.write(item.name, pipeline.process(item.pair))
                    fused += 1
                except ImageError as error:
                    lost.append(Lost(item.name, str(error)))
            bar.update()
    seconds = time.monotonic() - begin
    return {
        "fused": fused,
        "lost": [entry._asdict() for entry in lost],
        "seconds": round(seconds, 3),
        "pairs_per_s": round(fused / seconds, 2) if seconds else 0.0,
        "device": str(pipeline.fuser.device),
    }


def _tell(report: dict[str, Any], shown: int) -> None:
    """The report in words, without the first ``shown`` remarks."""
    for text in report["remarks"][shown:]:
        remark(text)
    for entry in report["lost"][:MOST_LOST_SHOWN]:
        remark(f"not fused: {entry['name']}: {entry['reason']}")
    if len(report["lost"]) > MOST_LOST_SHOWN:
        remark(f"not fused: {len(report['lost']) - MOST_LOST_SHOWN} more (--json lists all)")
    speed = f"{report['seconds']:.1f} s, {report['pairs_per_s']:.1f} pairs a second, {report['device']}"
    print(f"{report['fused']} fused into {report['out']} ({speed})")
