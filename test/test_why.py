"""`aenet why` of bags that are no black box. Black boxes: test_ros_black_box.py."""

import json

import pytest

pytest.importorskip("rosbags", reason="bags are read with rosbags (the extra [bags])")
pytest.importorskip("mcap", reason="bags are written with mcap (the extra [bags])")

from aenet_ros.cli.main import main
from aenet_ros.io.bag_writer import BagWriter, ros2_connection
from aenet_ros.io.bags import known_types


def make_bag(folder, topic, msgtype, messages):
    writer = BagWriter(folder)
    for number, message in enumerate(messages):
        writer.write(ros2_connection(topic, msgtype), number * 10**9, bytes(known_types(ros1=False).serialize_cdr(message, msgtype)))
    writer.close()


def diagnostics(level, code, text):
    types = known_types(ros1=False).types
    values = [types["diagnostic_msgs/msg/KeyValue"]("code", code)]
    status = types["diagnostic_msgs/msg/DiagnosticStatus"](level, "/r1/fusion: pairing", text, "robot", values)
    header = types["std_msgs/msg/Header"](types["builtin_interfaces/msg/Time"](1, 0), "")
    return types["diagnostic_msgs/msg/DiagnosticArray"](header, [status])


def test_a_bag_with_diagnostics_tells_the_worst_status(tmp_path, capsys):
    rows = [(0, "PAIRING_OK", "9 pairs"), (2, "PAIRING_ZERO_STAMPS", "frames come with stamp 0"), (0, "PAIRING_OK", "20 pairs")]
    make_bag(tmp_path / "drive", "/diagnostics", "diagnostic_msgs/msg/DiagnosticArray", [diagnostics(*row) for row in rows])
    assert main(["why", str(tmp_path / "drive"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["cause"] == "frames come with stamp 0"
    assert [(row["name"], row["level"], row["code"]) for row in report["statuses"]] == [("pairing", 2, "PAIRING_ZERO_STAMPS")]
    assert main(["why", str(tmp_path / "drive")]) == 0
    assert "ERROR  pairing         PAIRING_ZERO_STAMPS" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("topic", "text", "words"),
    [("/notes", "hello", "no black box and holds no diagnostics"), ("/fusion/black_box", '{"node": "/fusion"}', "of another version")],
)
def test_other_bags_are_refused_in_words(tmp_path, capsys, topic, text, words):
    message = known_types(ros1=False).types["std_msgs/msg/String"](text)
    make_bag(tmp_path / "drive", topic, "std_msgs/msg/String", [message])
    assert main(["why", str(tmp_path / "drive")]) == 1
    assert words in capsys.readouterr().err
