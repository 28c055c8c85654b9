"""The finder of cameras, on the topics of drivers and robots in recorded_cameras.yaml."""

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from aenet_ros.messages.camera_finder import find_cameras
from aenet_ros.messages.stream_kinds import Stream, stream_of

yaml = pytest.importorskip("yaml", reason="the table of cameras is YAML: pip install pyyaml")


def stream(topic, encoding="", size=(480, 640), frame_id="", median=None, rate_hz=30.0, **facts):
    return Stream(topic, encoding, size, frame_id, rate_hz, True, median, **facts)


def line_stream(line):
    """A stream from a line of recorded_cameras.yaml."""
    topic, encoding, size, frame_id, median, rate_hz, *more = [part if part != "-" else "" for part in line.split()]
    width, height = map(int, size.split("x"))
    far = next((float(part[4:]) for part in more if part.startswith("far=")), 0.0)
    median = float(median) if median else None
    return Stream(topic, encoding, (height, width), frame_id, float(rate_hz), True, median, far, "grey" in more)


TABLE = yaml.safe_load(Path(__file__).with_name("recorded_cameras.yaml").read_text(encoding="utf-8"))
ENTRIES = {entry.get("camera") or entry["robot"]: entry for part in TABLE.values() for entry in part}
STREAMS = {name: [*map(line_stream, entry["streams"].splitlines())] for name, entry in ENTRIES.items()}
USB_CAM, V4L2 = stream("/image_raw", "yuv422_yuy2", (480, 640), "camera"), stream("/camera/image_raw", "rgb8", (720, 1280), "camera")
OAK = STREAMS["OAK-D"]
BOSON_16, LEPTON = STREAMS["Boson 16 bit (flir_boson_usb)"][0], STREAMS["Lepton TLinear"][0]


@pytest.mark.parametrize("entry", TABLE["drivers"], ids=lambda entry: entry["camera"])
def test_thermal_cameras_of_the_usual_drivers(entry):
    streams = STREAMS[entry["camera"]]
    for others in ([USB_CAM], OAK):
        found = find_cameras([*others, *reversed(streams)])
        assert (found.thermal, found.rgb, found.profile, found.question) == (streams[0].topic, others[0].topic, entry["profile"], "")
        assert streams[0].topic in found.why
    assert find_cameras(streams).rgb == ""  # a thermal camera alone is never its own rgb camera


@pytest.mark.parametrize("entry", TABLE["robots"], ids=lambda entry: entry["robot"])
def test_whole_robots_are_found_or_asked_for_and_never_guessed(entry):
    found = find_cameras(STREAMS[entry["robot"]])
    for role in ("thermal", "rgb"):
        expected = entry[role]
        if isinstance(expected, str):
            assert getattr(found, role) == expected, found.question
        else:
            assert getattr(found, role) == ""
            assert sorted(found.candidates[role]) == sorted(expected)
            assert all(topic in found.question for topic in expected)
    assert bool(found.question) == (not found.thermal or not found.rgb)


def test_the_launch_lines_of_the_docs_name_topics_that_are_found():
    text = (Path(__file__).parents[1] / "docs" / "cameras.md").read_text(encoding="utf-8").split("## Launch lines")[1].split("| driver")[0]
    lines = re.findall(r"^ros2 launch .* rgb_topic:=(\S+) thermal_topic:=(\S+)", text, re.MULTILINE)
    visible = re.findall(r"^RGB=(\S+)", text, re.MULTILINE)
    assert (len(visible), len(lines)) >= (4, 12)
    known = {stream.topic: stream for streams in reversed(STREAMS.values()) for stream in streams}
    for given, thermal in lines:
        for rgb in visible if given == "$RGB" else [given]:
            found = find_cameras([known[rgb], known[thermal]])
            assert (found.thermal, found.rgb) == (thermal, rgb)


def test_what_is_not_certain_is_asked_for_with_its_candidates():
    two = [V4L2._replace(topic=f"/camera{number}/image_raw") for number in (1, 2)]
    found = find_cameras([BOSON_16, *two])
    assert (found.thermal, found.rgb) == ("/flir_boson/image_raw", "")
    for text in ("rgb: 2 topics come in question", "/camera1/image_raw (rgb8 1280x720, 30.0 Hz, with camera_info)", "/camera2/image_raw"):
        assert text in found.question
    bosons = [BOSON_16._replace(topic=f"/flir_boson{number}/image_raw") for number in (1, 2)]
    found = find_cameras([*bosons, USB_CAM])
    assert (found.thermal, found.rgb) == ("", "/image_raw")
    assert "thermal: 2 topics come in question" in found.question
    unnamed = stream("/cam/image_raw", "mono16", (512, 640), "cam", 21000.0)
    for second in (unnamed, unnamed._replace(frame_id="lwir")):
        assert "thermal: 2 topics come in question" in find_cameras([LEPTON, second, USB_CAM]).question
    night = stream("/front/image_raw", "rgb8", (720, 1280), grey=True)  # lit by infrared lamps
    assert "rgb: 2 topics come in question" in find_cameras([BOSON_16, night, V4L2]).question
    assert find_cameras([*bosons, *two], thermal="/flir_boson2/image_raw", rgb="/camera1/image_raw").question == ""
    assert find_cameras([]).question == "there is no image topic"


def test_the_own_names_and_the_own_namespace_win():
    own = [stream("/r1/thermal/image_raw", "mono8"), stream("/r1/rgb/image_raw", "mono8")]
    found = find_cameras([*own, BOSON_16, V4L2])
    assert (found.thermal, found.rgb) == ("/r1/thermal/image_raw", "/r1/rgb/image_raw")
    robots = [one._replace(topic=f"/fleet/{robot}{one.topic}") for robot in ("r1", "r2") for one in (BOSON_16, V4L2)]
    found = find_cameras([*robots], namespace="/fleet/r2")
    assert (found.thermal, found.rgb) == ("/fleet/r2/flir_boson/image_raw", "/fleet/r2/camera/image_raw")
    assert find_cameras([*robots], namespace="/fleet").question
    # Those of another robot are only named.
    found = find_cameras(robots[2:], namespace="/fleet/r1")
    assert (found.thermal, found.rgb) == ("", "")
    assert found.question.startswith("in /fleet/r1: there is no image topic; elsewhere: thermal: /fleet/r2/flir_boson/image_raw")
    assert found.choice("{role}:={topic}") == "thermal:=/fleet/r2/flir_boson/image_raw rgb:=/fleet/r2/camera/image_raw"


def image(data, encoding):
    header = SimpleNamespace(stamp=SimpleNamespace(sec=1, nanosec=0), frame_id="camera")
    (height, width), step = data.shape[:2], data.strides[0]
    return SimpleNamespace(header=header, height=height, width=width, encoding=encoding, is_bigendian=0, step=step, data=data.tobytes())


def test_facts_are_read_from_a_message():
    counts = np.full((64, 80), 29500, np.uint16)
    counts[:, :40] = 0
    facts = stream_of("/t", image(counts, "mono16"), 9.0, has_info=True)
    assert (facts.encoding, facts.size, facts.median, facts.far, facts.rate_hz) == ("mono16", (64, 80), 14750.0, 1.0, 9.0)
    near = np.full((64, 80), 3000, np.uint16)
    near[:10] = 1200  # a depth image in millimetres without holes
    assert stream_of("/t", image(near, "16UC1")).far == pytest.approx(16 / 80, abs=0.1)
    grey = np.full((64, 80, 3), 7, np.uint8)
    assert not stream_of("/t", image(grey, "rgb8")).grey  # so dark a frame of a colour camera tells nothing
    grey[:32] = 90
    assert stream_of("/t", image(grey, "rgb8")).grey
    colours = stream_of("/t", image(np.full((64, 80, 3), (9, 99, 9), np.uint8), "rgb8"))
    assert (colours.encoding, colours.grey) == ("rgb8", False)
    damaged = image(counts, "mono16")
    damaged.data = damaged.data[:10]
    assert stream_of("/t", damaged) == Stream("/t", "mono16", (64, 80), frame_id=damaged.header.frame_id)
