"""Bags of both ROS, made here: reading, fusing into a new bag, inspecting, damage."""

import json

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="bags need the package rosbags (pip install rosbags)")
pytest.importorskip("mcap", reason="damaged bags are read with the package mcap (pip install mcap)")

from rosbags.highlevel import AnyReader
from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from aenet_ros.cli import main as cli
from aenet_ros.config import Config, SyncConfig, build
from aenet_ros.core.errors import SourceError
from aenet_ros.io.bag_report import report_bag, stamp_report
from aenet_ros.io.bag_source import BagSource
from aenet_ros.io.files import is_bag
from aenet_ros.view.bag_view import BagView

IMAGE, INFO, STRING = "sensor_msgs/msg/Image", "sensor_msgs/msg/CameraInfo", "std_msgs/msg/String"
BEGIN_NS = 1_700_000_000_000_000_000
PERIOD_NS = 40_000_000
SIZE = (48, 64)
BEST_EFFORT = Qos(
    *(QosHistory.KEEP_LAST, 5, QosReliability.BEST_EFFORT, QosDurability.VOLATILE, QosTime(0, 0), QosTime(0, 0)),
    *(QosLiveliness.AUTOMATIC, QosTime(0, 0), False),
)
PLAIN = "output.thermal_weight=0"  # the fused picture is then the rgb one


def aenet(*arguments):
    return cli.main([*map(str, arguments)])


def thermal_of(index):
    return np.full(SIZE, 29_000 + index, np.uint16)


def rgb_of(index):
    picture = np.zeros((*SIZE, 3), np.uint8)
    picture[...] = (index % 200, 100, 200)
    picture[:, index % 64] = 255
    return picture


class BagMaker:
    """Writes messages with any rosbags writer; ``store`` decides between ROS 1 and 2."""

    def __init__(self, path, kind):
        self.ros1 = kind == "ros1"
        self.store = get_typestore(Stores.ROS1_NOETIC if self.ros1 else Stores.ROS2_HUMBLE)
        self.serialize = self.store.serialize_ros1 if self.ros1 else self.store.serialize_cdr
        if self.ros1:
            self.writer = Writer1(path)
        else:
            self.writer = Writer(
                path, version=9, storage_plugin=StoragePlugin.SQLITE3 if kind.startswith("sqlite3") else StoragePlugin.MCAP
            )
            for mode in ("storage", "message", "file"):
                if kind.endswith(mode):
                    self.writer.set_compression(CompressionMode[mode.upper()], CompressionFormat.ZSTD)

    def topic(self, name, msgtype):
        options = {} if self.ros1 else {"offered_qos_profiles": [BEST_EFFORT]}
        return self.writer.add_connection(name, msgtype, typestore=self.store, **options)

    def header(self, stamp_ns, frame_id):
        types = self.store.types
        fields = {"stamp": types["builtin_interfaces/msg/Time"](*divmod(stamp_ns, 1_000_000_000)), "frame_id": frame_id}
        return types["std_msgs/msg/Header"](**fields, **({"seq": 0} if self.ros1 else {}))

    def image(self, connection, log_ns, stamp_ns, picture, encoding, frame_id):
        data = np.frombuffer(picture.tobytes(), np.uint8)
        height, width = picture.shape[:2]
        message = self.store.types[IMAGE](self.header(stamp_ns, frame_id), height, width, encoding, 0, data.size // height, data)
        self.writer.write(connection, log_ns, self.serialize(message, IMAGE))

    def info(self, connection, log_ns, stamp_ns, focal, frame_id="rgb_optical", size=SIZE):
        roi = self.store.types["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False)
        x, y = size[1] / 2, size[0] / 2
        p = np.array([focal, 0, x, 0, 0, focal, y, 0, 0, 0, 1.0, 0])
        numbers = [np.zeros(5), np.array([focal, 0, x, 0, focal, y, 0, 0, 1.0]), np.eye(3).ravel(), p]
        message = self.store.types[INFO](self.header(stamp_ns, frame_id), *size, "plumb_bob", *numbers, 0, 0, roi)
        self.writer.write(connection, log_ns, self.serialize(message, INFO))

    def text(self, connection, log_ns, text):
        self.writer.write(connection, log_ns, self.serialize(self.store.types[STRING](text), STRING))


def make_bag(path, kind="mcap", count=8, thermal_offset_ns=3_000_000, spoil=()):
    maker = BagMaker(path, kind)
    with maker.writer:
        thermal, rgb = maker.topic("/ir/image_raw", IMAGE), maker.topic("/cam/image_raw", IMAGE)
        info, words = maker.topic("/cam/camera_info", INFO), maker.topic("/words", STRING)
        for index in range(count):
            stamp = BEGIN_NS + index * PERIOD_NS
            encoding = "not_an_encoding" if index in spoil else "mono16"
            maker.image(thermal, stamp + 6_000_000, stamp + thermal_offset_ns, thermal_of(index), encoding, "thermal")
            maker.info(info, stamp + 8_000_000, stamp, 500.0)
            maker.image(rgb, stamp + 9_000_000, stamp, rgb_of(index), "rgb8", "rgb_optical")
            maker.text(words, stamp + 10_000_000, f"word {index}")
    return path


def messages(path):
    """All of a bag's messages by topic: (log time, message), and the QoS of each topic."""
    found, qos = {}, {}
    with AnyReader([path]) as reader:
        for connection, log_ns, data in reader.messages():
            found.setdefault(connection.topic, []).append((log_ns, reader.deserialize(data, connection.msgtype)))
            qos[connection.topic] = connection.ext.offered_qos_profiles
    return found, qos


def stamp(message):
    return message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec


@pytest.mark.parametrize("kind", ["mcap", "mcap-storage", "mcap-file", "sqlite3", "sqlite3-message", "sqlite3-file", "ros1"])
def test_every_kind_of_bag_becomes_a_bag_with_fused_topics(tmp_path, kind):
    source = make_bag(tmp_path / ("in.bag" if kind == "ros1" else "in"), kind)
    assert aenet("fuse", source, "-o", tmp_path / "out", "--set", PLAIN) == 0
    found, qos = messages(tmp_path / "out")
    assert {topic: len(items) for topic, items in found.items()} == dict.fromkeys(
        ("/fused/image", "/fused/camera_info", "/ir/image_raw", "/cam/image_raw", "/cam/camera_info", "/words"), 8
    )
    for index, ((log_ns, image), (_, info)) in enumerate(zip(found["/fused/image"], found["/fused/camera_info"], strict=True)):
        assert stamp(image) == stamp(info) == BEGIN_NS + index * PERIOD_NS
        assert log_ns >= found["/cam/image_raw"][index][0]
        assert (image.header.frame_id, image.encoding, image.height, image.width, image.step) == ("rgb_optical", "rgb8", *SIZE, 3 * SIZE[1])
        np.testing.assert_array_equal(image.data.reshape(*SIZE, 3), rgb_of(index))
        assert info.k[0] == 500.0
    for index, (log_ns, word) in enumerate(found["/words"]):  # originals: same bytes, same log times
        assert (log_ns, word.data) == (BEGIN_NS + index * PERIOD_NS + 10_000_000, f"word {index}")
    np.testing.assert_array_equal(found["/ir/image_raw"][3][1].data.view(np.uint16), thermal_of(3).ravel())
    assert qos["/fused/image"][0].reliability == QosReliability.RELIABLE
    if kind != "ros1":
        assert qos["/ir/image_raw"] == [BEST_EFFORT]


@pytest.mark.parametrize("kind", ["mcap", "ros1"])
@pytest.mark.parametrize(
    ("settings", "size", "frame_id", "k", "p"),
    [
        ((), (48, 64), "rgb_optical", [500, 0, 32, 0, 500, 24, 0, 0, 1], [500, 0, 32, 0, 0, 500, 24, 0, 0, 0, 1, 0]),
        # Half as wide and as high: u' = (u + 0.5) / 2 - 0.5, so 500 -> 250, 32 -> 15.75, 24 -> 11.75.
        (
            ("output.grid=size", "output.width=32"),
            (24, 32),
            "rgb_optical",
            [250, 0, 15.75, 0, 250, 11.75, 0, 0, 1],
            [250, 0, 15.75, 0, 0, 250, 11.75, 0, 0, 0, 1, 0],
        ),
        (("output.grid=thermal",), (24, 32), "thermal", [90, 0, 16, 0, 90, 12, 0, 0, 1], [90, 0, 16, 0, 0, 90, 12, 0, 0, 0, 1, 0]),
    ],
    ids=["rgb", "size", "thermal"],
)
def test_camera_info_describes_the_fused_picture_on_every_grid(tmp_path, kind, settings, size, frame_id, k, p):
    source = tmp_path / ("in.bag" if kind == "ros1" else "in")
    maker = BagMaker(source, kind)
    with maker.writer:
        topics = [maker.topic(f"/{name}/image_raw", IMAGE) for name in ("ir", "cam")]
        infos = [maker.topic(f"/{name}/camera_info", INFO) for name in ("ir", "cam")]
        for index in range(3):
            at = BEGIN_NS + index * PERIOD_NS
            maker.info(infos[0], at, at, 90.0, "thermal", (24, 32))
            maker.info(infos[1], at, at, 500.0)
            maker.image(topics[0], at + 1, at, thermal_of(index)[:24, :32], "mono16", "thermal")
            maker.image(topics[1], at + 2, at, rgb_of(index), "rgb8", "rgb_optical")
    assert aenet("fuse", source, "-o", tmp_path / "out", *(("--set", *settings) if settings else ())) == 0
    found, _ = messages(tmp_path / "out")
    assert len(found["/fused/camera_info"]) == 3
    for (_, image), (_, info) in zip(found["/fused/image"], found["/fused/camera_info"], strict=True):
        assert (image.height, image.width) == (info.height, info.width) == size
        assert (stamp(image), image.header.frame_id) == (stamp(info), info.header.frame_id)
        assert info.header.frame_id == frame_id
        assert list(info.k) == k
        assert list(info.p) == p
    assert {(info.width, info.k[0]) for _, info in found["/cam/camera_info"]} == {(64, 500.0)}  # copied as it was


def test_a_bag_that_starts_over_is_fused_as_the_first_time(tmp_path):
    """Gain control, shutter detection: nothing of the first round is remembered when the stamps jump back."""
    maker = BagMaker(tmp_path / "in", "mcap")
    with maker.writer:
        topics = [maker.topic(f"/{name}/image_raw", IMAGE) for name in ("ir", "cam")]
        for sent in range(24):
            index = sent % 12
            counts = np.linspace(20_000, 21_000 + 500 * index, SIZE[0] * SIZE[1]).reshape(SIZE).astype(np.uint16)
            log_ns, at = BEGIN_NS + sent * 200_000_000, BEGIN_NS + index * 200_000_000
            maker.image(topics[0], log_ns, at, counts, "mono16", "thermal")
            maker.image(topics[1], log_ns + 1, at, rgb_of(index), "rgb8", "rgb")
    assert aenet("fuse", tmp_path / "in", "-o", tmp_path / "out") == 0
    fused = [image.data for _, image in messages(tmp_path / "out")[0]["/fused/image"]]
    assert len(fused) == 24
    for first, second in zip(fused[:12], fused[12:], strict=True):
        np.testing.assert_array_equal(first, second)


def test_same_input_same_bytes(tmp_path):
    source = make_bag(tmp_path / "in")
    for folder in ("a", "b"):
        assert aenet("fuse", source, "-o", tmp_path / folder / "out") == 0
    files = [sorted(path.name for path in (tmp_path / folder / "out").iterdir()) for folder in ("a", "b")]
    assert files[0] == files[1] == ["metadata.yaml", "out.mcap"]
    for name in files[0]:
        assert (tmp_path / "a/out" / name).read_bytes() == (tmp_path / "b/out" / name).read_bytes()


def test_chosen_topics_and_a_single_mcap_file(tmp_path):
    source = make_bag(tmp_path / "in")
    assert aenet("fuse", source, "-o", tmp_path / "out.mcap", "--keep", "/words") == 0
    found, _ = messages(tmp_path / "out.mcap")
    assert set(found) == {"/fused/image", "/fused/camera_info", "/words"}
    assert aenet("fuse", source, "-o", tmp_path / "only", "--keep", "none") == 0
    assert set(messages(tmp_path / "only")[0]) == {"/fused/image", "/fused/camera_info"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "only", "out.mcap"]


def test_pictures_and_video_of_a_bag(tmp_path):
    source = make_bag(tmp_path / "in")
    assert aenet("fuse", source, "-o", tmp_path / "pictures", "--to", "pictures") == 0
    names = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    assert names == [f"{BEGIN_NS + index * PERIOD_NS}.png" for index in range(8)]
    assert aenet("fuse", source, "-o", tmp_path / "out.mp4") == 0
    assert (tmp_path / "out.mp4").stat().st_size > 0


def test_a_fused_bag_can_be_fused_again(tmp_path):
    assert aenet("fuse", make_bag(tmp_path / "in"), "-o", tmp_path / "once") == 0
    assert aenet("fuse", tmp_path / "once", "-o", tmp_path / "twice") == 0
    assert {topic: len(items) for topic, items in messages(tmp_path / "twice")[0].items()}["/fused/image"] == 8


def test_refusals_leave_everything_as_it_was(tmp_path, capsys):
    source = make_bag(tmp_path / "in")
    before = (source / "in.mcap").read_bytes()
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("")
    cases = [
        (["-o", tmp_path, "--force"], "is, or holds, what is read"),
        (["-o", precious], "exists already"),
        (["-o", precious, "--force"], "no bag"),
        (["-o", tmp_path / "x", "--keep", "/none"], "no such topic"),
        (["-o", tmp_path / "x", "--thermal-topic", "/none"], "no picture topic"),
        (["-o", tmp_path / "x.db3"], "written as mcap"),
        (["-o", tmp_path / "x", "--set", "sync.clock_offset_ms=300000"], "no pair was fused"),
        (["-o", tmp_path / "x", "--thermal-topic", "/cam/image_raw"], "no topic is certain to be rgb"),
    ]
    for arguments, words in cases:
        assert aenet("fuse", source, *arguments) == 1
        assert words in capsys.readouterr().err
    assert (source / "in.mcap").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "precious"]
    assert aenet("fuse", source, "-o", tmp_path / "out") == 0
    assert aenet("fuse", source, "-o", tmp_path / "out", "--force", "--keep", "none") == 0
    assert "/words" not in messages(tmp_path / "out")[0]


def test_a_frame_that_cannot_be_decoded_is_told(tmp_path, capsys):
    source = make_bag(tmp_path / "in", spoil=(2,))
    assert aenet("fuse", source, "-o", tmp_path / "out", "--json") == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["fused"], len(report["lost"])) == (7, 1)
    assert "not_an_encoding" in report["lost"][0]["reason"]
    assert any("left out" in text for text in report["remarks"])  # the rgb frame that lost its partner


def test_what_is_no_bag(tmp_path, capsys):
    for name, content in (("x.mcap", b""), ("y.mcap", b"\0" * 100), ("z.bag", b"hello"), ("w.db3", b"hello")):
        (tmp_path / name).write_bytes(content)
        for command in (["fuse", tmp_path / name, "-o", tmp_path / "out"], ["inspect", tmp_path / name]):
            assert aenet(*command) == 1
            captured = capsys.readouterr()
            assert name in captured.err
            assert "Traceback" not in captured.err
    assert aenet("inspect", tmp_path / "none.mcap") == 1
    assert is_bag(tmp_path / "x.mcap")
    assert not is_bag(tmp_path / "x.png")


def test_pairs_come_through_the_matcher(tmp_path):
    source = BagSource(make_bag(tmp_path / "in", thermal_offset_ns=-60_000_000), SyncConfig(slop_ms=5.0, clock_offset_ms=-60.0))
    items = list(source)
    assert all(item.pair is not None and not item.error for item in items)
    assert [int(item.pair.thermal.data[0, 0]) - 29_000 for item in items] == list(range(8))
    for index, item in enumerate(items):
        np.testing.assert_array_equal(item.pair.rgb.data, rgb_of(index))
        assert item.pair.difference_ns == 0
    assert "thermal: /ir/image_raw (8), rgb: /cam/image_raw (8)" in source.remarks


def test_the_policy_exact_pairs_equal_stamps_only(tmp_path):
    """As the node does; the nearest of these stamps differ by at most 3 ms."""
    maker = BagMaker(tmp_path / "in", "mcap")
    with maker.writer:
        thermal, rgb = maker.topic("/ir/image_raw", IMAGE), maker.topic("/cam/image_raw", IMAGE)
        for index, (thermal_ms, rgb_ms) in enumerate([(0, 0), (40, 41), (83, 80), (120, 120), (160, 161)]):
            log_ns = BEGIN_NS + (40 * index + 5) * 1_000_000
            maker.image(thermal, log_ns, BEGIN_NS + thermal_ms * 1_000_000, thermal_of(index), "mono16", "thermal")
            maker.image(rgb, log_ns + 1, BEGIN_NS + rgb_ms * 1_000_000, rgb_of(index), "rgb8", "rgb")
    sync = SyncConfig(policy="exact")
    pairs = [item.pair for item in BagSource(tmp_path / "in", sync)]
    assert [(pair.thermal.stamp_ns - BEGIN_NS, pair.rgb.stamp_ns - BEGIN_NS) for pair in pairs] == [(0, 0), (120_000_000, 120_000_000)]
    assert report_bag(tmp_path / "in", Config(sync=sync))["pairing"]["pairs"] == 2
    assert len(list(BagSource(tmp_path / "in", SyncConfig()))) == 5


def bag_with(folder, **topics):
    """A bag with three frames of each topic, by name: the encoding, and a value for all pixels (a list: of each frame)."""
    types = {"mono8": np.uint8, "mono16": np.uint16, "16UC1": np.uint16, "32FC1": np.float32, "rgb8": np.uint8}
    maker = BagMaker(folder, "mcap")
    with maker.writer:
        for name, (encoding, value) in topics.items():
            topic = maker.topic(name, IMAGE)
            for index in range(3):
                shade = value[index] if isinstance(value, list) else value
                pixels = np.full((512, 640, 3) if encoding == "rgb8" else (512, 640), shade, types[encoding])
                maker.image(topic, BEGIN_NS + 40_000_000 * index, BEGIN_NS + 40_000_000 * index, pixels, encoding, "camera")
    return folder


COLOUR = ("rgb8", (20, 90, 160))


def test_the_cameras_of_a_bag_are_found_by_their_frames(tmp_path):
    infra = bag_with(tmp_path / "infra", **{"/camera/infra1/image_rect_raw": ("mono8", 90), "/camera/color/image_raw": COLOUR})
    with pytest.raises(SourceError, match=r"no topic is certain to be thermal; .*near infrared.* Give --thermal-topic TOPIC "):
        BagSource(infra, SyncConfig())
    names = {"/cam2/image_raw": ("mono16", 21000), "/cam1/image_raw": COLOUR, "/cam3/image_raw": ("32FC1", 2.5)}
    assert BagSource(bag_with(tmp_path / "in", **names), SyncConfig()).cameras == {"thermal": "/cam2/image_raw", "rgb": "/cam1/image_raw"}
    two = bag_with(tmp_path / "two", **names, **{"/cam4/image_raw": COLOUR})
    with pytest.raises(SourceError, match=r"rgb: 2 topics .* Give --thermal-topic /cam2/image_raw --rgb-topic /cam1/image_raw"):
        BagSource(two, SyncConfig())
    assert BagSource(two, SyncConfig(), rgb_topic="/cam4/image_raw").cameras["rgb"] == "/cam4/image_raw"
    assert "rgb: 2 topics" in report_bag(two, Config())["advice"]


def test_the_profile_of_a_known_driver_is_told_and_applied_by_fuse_inspect_and_view(tmp_path, capsys):
    topics = {"/lepton/image_raw": ("mono16", 29815), "/camera/image_raw": COLOUR}  # 298.15 K: 25 degrees
    bag = bag_with(tmp_path / "in", **topics)
    chosen = ("--thermal-topic", "/lepton/image_raw", "--rgb-topic", "/camera/image_raw")
    for number, given in enumerate(((), chosen)):
        assert aenet("inspect", bag, *given) == 0
        out, err = capsys.readouterr()
        assert "first thermal frame: 25 .. 25 degrees Celsius, median 25 (agc.profile lepton)" in out
        assert "agc.profile lepton by the conventions of the camera's driver; set agc.profile to override it" in err
        assert aenet("fuse", bag, "-o", tmp_path / f"out{number}", "--temperature", tmp_path / f"degrees{number}", *given) == 0
        assert "agc.profile lepton by the conventions" in capsys.readouterr().err
        view = BagView(bag, Config(), *given[1::2])
        assert "agc.profile lepton by the conventions of the camera's driver; set agc.profile to override it" in view.notes
        assert "(agc.profile lepton)" in view.state()["temperature"]
        assert all(row["level"] == 0 for row in view.state()["statuses"])  # a choice is no warning
    late = bag_with(tmp_path / "late", **{"/lepton/image_raw": ("mono16", [0, 29815, 29815]), "/camera/image_raw": COLOUR})
    assert BagSource(late, SyncConfig()).profile == "lepton"  # a blank frame tells nothing
    # What is set stays, "generic" too.
    assert aenet("inspect", bag, "--set", "agc.profile=generic") == 0
    out, err = capsys.readouterr()
    assert "first thermal frame: 29815 .. 29815, median 29815 (no degrees: agc.profile generic" in out
    assert "agc.profile generic is kept as set" in err
    assert aenet("fuse", bag, "-o", tmp_path / "out", "--temperature", tmp_path / "degrees", "--set", "agc.profile=generic") == 1
    scale = ("--set", "agc.celsius_per_count=0.02")
    assert aenet("inspect", bag, *scale) == 0
    assert "the scale is kept as set" in capsys.readouterr().err
    view = BagView(bag, build({"agc.profile": "generic"}))
    assert "counts only: agc.profile generic" in view.state()["temperature"]


def test_inspect_tells_rates_stamps_and_pairs(tmp_path, capsys):
    source = make_bag(tmp_path / "in")
    assert aenet("inspect", source, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    by_name = {topic["name"]: topic for topic in report["topics"]}
    assert by_name["/ir/image_raw"]["encodings"] == ["mono16 64x48"]
    assert by_name["/words"]["messages"] == 8
    stamps = by_name["/cam/image_raw"]["stamps"]
    assert (stamps["period_ms"], stamps["delay_ms"], stamps["gaps"], stamps["zero"]) == (40.0, 9.0, 0, 0)
    assert (report["pairing"]["pairs"], report["pairing"]["paired_difference_ms"], report["advice"]) == (8, 3.0, "")
    assert aenet("inspect", source) == 0
    out = capsys.readouterr().out
    for text in ("/ir/image_raw", "mono16 64x48", "pairs: 8 of 8", "every 40.0 ms"):
        assert text in out


def test_inspect_where_topics_are_unclear(tmp_path, capsys):
    source = make_bag(tmp_path / "in")
    assert aenet("inspect", source, "--thermal-topic", "/none") == 1
    assert "no picture topic '/none'" in capsys.readouterr().out


def test_stamps_with_faults():
    ms = 1_000_000
    stamps = [100 * ms, 140 * ms, 140 * ms, 180 * ms, 220 * ms, 500 * ms, 540 * ms, 90 * ms, 0]
    report = stamp_report([(stamp, stamp + 7 * ms) for stamp in stamps])
    assert report == {
        "zero": 1,
        "repeated": 1,
        "backward": 2,
        "gaps": 1,
        "largest_gap_ms": 280.0,
        "period_ms": 40.0,
        "delay_ms": 7.0,
    }
