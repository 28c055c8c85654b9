"""Say why a node's black box was written, and fuse its pairs again.

BAG is a folder that the node wrote (black_box.enabled), or any bag with its /diagnostics. The cause is the message of the worst
status in them. Each picture of a black box is made again from its recorded frames, configuration and state, and compared byte by byte;
other devices and versions may give others. --set and --params change the recorded configuration, for example model.weights.

examples:
  aenet why ~/.ros/black_box/black_box_20261128_221503_120
  aenet why drive.mcap
"""

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from aenet_ros.cli.common import add_config_arguments, config_from, print_json, remark

LEVELS = ("OK", "WARN", "ERROR", "STALE")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("bag", metavar="BAG", type=Path, help="folder or file")
    parser.add_argument("--json", action="store_true", help="the report as JSON on stdout")
    add_config_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Report; 0 if every picture is the same again, or there are none, 1 if not."""
    from aenet_ros.core.progress import ProgressBar
    from aenet_ros.io.black_box import explain  # needs rosbags

    with ProgressBar("reading", "message") as bar:
        report = explain(args.bag, partial(config_from, args), bar.step)
    if args.json:
        print_json(report)
    else:
        _print_report(report)
    return 1 if report.get("different") or report.get("not_made") else 0


def _print_report(report: dict[str, Any]) -> None:
    for text in report["remarks"]:
        remark(text)
    print(f"cause: {report['cause']}\n")
    for row in report["statuses"]:
        if row["level"]:
            print(f"{LEVELS[row['level']]:<6} {row['name']:<15} {row['code']:<24} {row['message']}")
    if "reason" not in report:
        return
    received = ", ".join(f"{count} {role}" for role, count in report["received"].items()) or "nothing"
    print(f"\nblack box of {report['node']} (version {report['version']}), written because of {report['reason']}")
    print(f"received: {received}; {report['pictures']} pictures were published, on {report['there']}")
    for text, count in report["undecoded"].items():
        print(f"not decoded: {count} {text}")
    made = report["pictures"] - report["held"] - report["early"]
    print(f"made again: {report['equal']} of {made} pictures are equal, byte by byte" + _difference(report))
    for text, count in report["not_made"].items():
        print(f"not made again: {count}: {text}")
    for count, text in ((report["early"], "their frames came before the box begins"), (report["held"], "earlier pictures, held")):
        if count:
            print(f"not compared: {count}, {text}")


def _difference(report: dict[str, Any]) -> str:
    if not report["different"]:
        return ""
    sizes = [entry["levels"] for entry in report["different"] if entry["levels"] is not None]
    most = f"; {len(report['different'])} differ, by {max(sizes)} grey levels at most" if sizes else "; the others have another size"
    if report["here"] != report["there"] or not report["same_weights"]:
        most += f" (here: {report['here']}{'' if report['same_weights'] else ', other weights'})"
    return most
