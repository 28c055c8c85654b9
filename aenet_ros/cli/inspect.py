"""Report what a bag holds: topics, rates, encodings, stamps, gaps, and what would be paired; or what a picture file is.

Reads rosbag2 (mcap, sqlite3) and ROS 1 bags; damaged mcap is read up to the damage. The thermal and rgb topics are found by
names, encodings and values, and shown; the options of `aenet fuse` change the choice and the matching. Exit status 0 if there are pairs.

Of a picture: format, size, depth, orientation, pages, range of the values, and the temperatures where the file or agc.profile tells them.

examples:
  aenet inspect drive.mcap
  aenet inspect FLIR0042.jpg
  aenet inspect drive/ --thermal-topic /ir/image --set sync.slop_ms=40
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aenet_ros.cli.common import add_config_arguments, add_time_argument, config_from, print_json, remark, text_table

if TYPE_CHECKING:
    from aenet_ros.config import Config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("bag", metavar="FILE", type=Path, help="bag (folder or file) or picture")
    parser.add_argument("--thermal-topic", metavar="TOPIC", default="", help="default: found by names, encodings and values")
    parser.add_argument("--rgb-topic", metavar="TOPIC", default="", help="default: found by names, encodings and values")
    add_time_argument(parser)
    parser.add_argument("--json", action="store_true", help="the report as JSON on stdout")
    add_config_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Report; 0 if there are pairs, 1 if there are none."""
    from aenet_ros.core.progress import ProgressBar
    from aenet_ros.io.files import PICTURE_SUFFIXES

    config = config_from(args)
    if args.bag.suffix.lower() in (*PICTURE_SUFFIXES, ".fff") and not args.bag.is_dir():
        return _inspect_picture(args, config)
    from aenet_ros.io.bag_report import report_bag  # needs rosbags

    with ProgressBar("reading", "frame") as bar:
        report = report_bag(args.bag, config, args.thermal_topic, args.rgb_topic, args.time, progress=bar.step)
    if args.json:
        print_json(report)
    else:
        _print_report(report)
    return 0 if report["pairing"] and report["pairing"]["pairs"] else 1


def _inspect_picture(args: argparse.Namespace, config: "Config") -> int:
    from aenet_ros.io.picture_checks import report_picture

    report = report_picture(args.bag, config.agc)
    if args.json:
        print_json(report)
        return 0
    stored, thermal = report["stored"], report["thermal"]
    facts = [report["format"]]
    if stored:
        bits = f" that use {stored['bits']} bits" if "bits" in stored else ""
        facts += [
            "{}x{}".format(*stored["size"]),
            f"{stored['type']}{bits}",
            f"{stored['channels']} channels",
            f"colours: {stored['colours']}",
        ]
        facts += [f"EXIF orientation {stored['orientation']}"] if stored["orientation"] != 1 else []
        facts += [f"{stored['pages']} pages"] if stored["pages"] > 1 else []
    print(f"{report['file']}: {', '.join(facts)}")
    if report["rgb"]:
        print(f"as rgb: {report['rgb']['encoding']}")
    radiometric = f"{thermal['radiometric']} radiometric" if thermal["radiometric"] else "not a maker's radiometric file"
    print("as thermal: {} {}x{}, {}".format(thermal["encoding"], *thermal["size"], radiometric))
    if thermal["celsius"]:
        low, middle, high = thermal["celsius"]
        print(f"  {low:.1f} .. {high:.1f} degrees Celsius, median {middle:.1f}")
    elif thermal["values"]:
        low, middle, high = thermal["values"]
        print(f"  values {low:g} .. {high:g}, median {middle:g}")
    for text in report["advice"]:
        print(f"  {text}")
    return 0


def _print_report(report: dict[str, Any]) -> None:
    for text in report["remarks"]:
        remark(text)
    topics = report["topics"]
    print(f"{report['bag']}: {report['seconds']:.1f} s, {len(topics)} topics, {sum(topic['messages'] for topic in topics)} messages")
    rows = []
    for topic in topics:
        msgtype = topic["msgtype"].rsplit("/", 1)[-1]
        rows.append([topic["name"], msgtype, str(topic["messages"]), f"{topic['rate_hz']:.2f}", ", ".join(topic["encodings"])])
    print(text_table(["topic", "type", "messages", "Hz", "pictures"], rows))
    for topic in topics:
        if topic["stamps"]:
            print(f"stamps of {topic['name']}: {_stamps(topic['stamps'])}")
    pairing = report["pairing"]
    if pairing:
        print(f"thermal: {pairing['thermal']}   rgb: {pairing['rgb']}   paired by {pairing['time']} times")
        print(f"pairs: {pairing['pairs']} of {pairing['of_thermal']} thermal and {pairing['of_rgb']} rgb frames", end="")
        print(f", thermal - rgb {pairing['paired_difference_ms']:+.2f} ms (median)" if pairing["pairs"] else "")
        if pairing["values"]:
            low, middle, high = pairing["celsius"] or pairing["values"]
            unit = " degrees Celsius" if pairing["celsius"] else ""
            print(f"first thermal frame: {low:.5g} .. {high:.5g}{unit}, median {middle:.5g} ({pairing['scale']})")
        for reason, count in pairing["left_out"].items():
            print(f"  {count} left out: {reason}")
    if report["advice"]:
        print(report["advice"])


def _stamps(stamps: dict[str, Any]) -> str:
    text = f"every {stamps['period_ms']:.1f} ms, logged {stamps['delay_ms']:.1f} ms later"
    faults = [f"{stamps[name]} {name}" for name in ("zero", "repeated", "backward") if stamps[name]]
    if stamps["gaps"]:
        faults.append(f"{stamps['gaps']} gaps, the largest {stamps['largest_gap_ms']:.0f} ms")
    return f"{text}; {', '.join(faults) if faults else 'no faults'}"
