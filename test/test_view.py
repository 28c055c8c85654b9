"""`aenet view` of a bag, as a process: pictures, temperatures, seeking, options; who is let in; what is said when it cannot start."""

import re
import socket
import time
from dataclasses import replace

import cv2
import numpy as np
import pytest

pytest.importorskip("rosbags", reason="bags need the package rosbags (pip install rosbags)")

from test_bags import BEGIN_NS, IMAGE, PERIOD_NS, SIZE, BagMaker, make_bag, rgb_of
from view_client import PATIENCE_S, Viewer, aiohttp, fetch, with_page

from aenet_ros.cli.main import main
from aenet_ros.config import AgcConfig, build
from aenet_ros.core.errors import ConfigError
from aenet_ros.core.frames import Frame
from aenet_ros.view import choose_token, is_local
from aenet_ros.view.bag_view import BagView
from aenet_ros.view.server import FILES, Access
from aenet_ros.view.snapshot import Snapshot, StampGrouper, ThermalRenderer
from aenet_ros.view.source import ERROR, OFFLINE, OK, WAITING, WARN, RobotFacts, robot_status_text

COUNT = 100
MIDDLE = (0.5, 0.5)
PLAIN = ("--set", "output.thermal_weight=0", "model.threads=1", "agc.profile=centikelvin")  # the fused picture is then the rgb one


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    return make_bag(tmp_path_factory.mktemp("bag") / "drive", count=COUNT)


@pytest.fixture(scope="module")
def viewer(bag, tmp_path_factory):
    process = Viewer(tmp_path_factory.mktemp("log") / "view.log", bag, *PLAIN)
    yield process
    assert process.close() == 0
    assert "Traceback" not in process.log()


# The page.


def test_the_page_is_whole_and_asks_nobody_else(viewer):
    for path in FILES:
        status, headers, text = fetch(viewer.url, path[1:])
        assert status == 200
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        addresses = set(re.findall(r"""(?:https?:)//[^\s'"]+""", text))
        assert addresses <= {"http://www.w3.org/2000/svg"}, path  # a name space, not an address
        assert not re.findall(r"""(?:src|href|action)="/""", text), f"{path}: an address that is not relative"


@pytest.mark.parametrize("path", ["%2e%2e/server.py", "..%2fserver.py", "page/index.html", "token.html", "%2fetc%2fpasswd", "nothing"])
def test_only_the_page_s_own_files_are_given(viewer, path):
    assert fetch(viewer.url, path)[0] == 404


def test_a_bag_plays_to_its_end_and_shows_what_it_holds(viewer):
    async def talk(page):
        await page.request("rgb", "thermal", "fused", points=[MIDDLE])
        await page.until(lambda: page.states and page.states[-1]["bag"]["ended"], "the end")
        return page

    page = with_page(viewer.url, talk)
    assert page.hello["kind"] == "bag"
    assert page.states[-1]["bag"]["duration_s"] == pytest.approx((COUNT - 1) * PERIOD_NS * 1e-9 + 0.004, abs=0.02)
    assert len(page.snapshots) > 5
    places = [header["at_s"] for header, _ in page.snapshots]
    assert places == sorted(places)
    for header, pictures in page.snapshots:
        index = round((int(header["stamp_ns"]) - BEGIN_NS) / PERIOD_NS)
        assert header["readings"]["points"] == [[pytest.approx((29_000 + index) * 0.01 - 273.15, abs=0.01), 29_000 + index]]
        assert [*pictures] == ["rgb", "thermal", "fused"]
        for stream in ("rgb", "fused"):
            far = np.abs(pictures[stream][:, :, ::-1].astype(int) - rgb_of(index))
            assert np.median(far) < 6  # jpeg
        assert pictures["thermal"].shape[:2] == SIZE


async def stand_at(page, at_s):
    """Paused, with the fused picture of that time."""
    await page.send(type="pause")
    await page.request("fused")
    await page.send(type="seek", value=at_s)
    await page.until(lambda: page.snapshots and abs(page.snapshots[-1][0]["at_s"] - at_s) < 0.1, "the sought place")


def test_spots_box_and_alarms_of_a_bag(tmp_path):
    """A square of 40 degC on 16.85 degC in one half of the bag's view, and a region that contains it."""
    maker = BagMaker(tmp_path / "drive", "mcap")
    counts = np.full(SIZE, 29_000, np.uint16)
    counts[10:20, 30:42] = 31_315
    with maker.writer:
        thermal, rgb = maker.topic("/ir/image_raw", IMAGE), maker.topic("/cam/image_raw", IMAGE)
        for index in range(COUNT):
            stamp = BEGIN_NS + index * PERIOD_NS
            maker.image(thermal, stamp + 6_000_000, stamp, counts + np.uint16(index % 2), "mono16", "thermal")
            maker.image(rgb, stamp + 9_000_000, stamp, np.full((*SIZE, 3), 90, np.uint8), "rgb8", "rgb_optical")
    regions = "oven 25,5 50,25 pre=30 high=35; rest 0,30 20,40 high=35"
    options = ("agc.profile=centikelvin", "alarms.hold_s=0.2")
    viewer = Viewer(tmp_path / "view.log", tmp_path / "drive", "--set", "model.threads=1", *options, f"alarms.regions={regions}")

    async def talk(page):
        await page.request("fused", box=[0.0, 0.5, 1.0, 0.0], spots=True)
        await page.until(lambda: page.states and page.states[-1]["level"] == ERROR, "the alarm")
        state = page.states[-1]
        assert [(row["name"], row["level"]) for row in state["alarms"]] == [("oven", ERROR), ("rest", OK)]
        assert "oven has 40.0 degC; the alarm level is 35" in state["headline"]
        header, _ = page.snapshots[-1]
        assert header["readings"]["box"] == pytest.approx([16.85, 16.85 + 23.15 * 120 / (24 * 64), 40.0], abs=0.02)
        assert [region["level"] for region in header["spots"]["regions"]] == [ERROR, OK]
        [spot] = header["spots"]["spots"]
        assert (spot["id"], spot["kind"], header["spots"]["unit"]) == (1, "hot", "°C")
        assert spot["value"] == pytest.approx(40.0, abs=0.02)
        assert spot["box"] == pytest.approx([30 / 64, 10 / 48, 42 / 64, 20 / 48], abs=1e-3)
        await page.send(type="pause")
        assert (await page.set("hot_spots.level", 50.0))["ok"]
        await page.until(lambda: not page.snapshots[-1][0]["spots"]["spots"], "no spot at the new level, while paused")
        assert (await page.set("agc.profile", "generic"))["ok"]
        await page.until(lambda: page.snapshots[-1][0]["readings"]["unit"] == "counts", "counts")
        assert "does not say what counts mean" in page.snapshots[-1][0]["readings"]["no_degrees"]
        assert page.snapshots[-1][0]["spots"]["unit"] == ""
        await page.until(lambda: "no region is watched" in page.states[-1]["headline"], "words on the regions")

    try:
        with_page(viewer.url, talk)
    finally:
        viewer.close()


def test_seek_pause_step_and_speed(viewer):
    async def talk(page):
        await stand_at(page, 2.0)
        at_s = page.snapshots[-1][0]["at_s"]
        await page.during(1.0)
        assert page.snapshots[-1][0]["at_s"] == at_s
        await page.send(type="step")
        await page.until(lambda: page.snapshots[-1][0]["at_s"] > at_s, "the next picture")
        assert page.snapshots[-1][0]["at_s"] == pytest.approx(at_s + PERIOD_NS * 1e-9, abs=1e-6)
        await page.send(type="seek", value=1.0)
        await page.until(lambda: page.snapshots[-1][0]["at_s"] < 1.2, "a place before")
        await page.send(type="speed", value=0.25)
        await page.send(type="play")
        begun = time.monotonic()
        await page.until(lambda: page.snapshots[-1][0]["at_s"] > 1.3, "it to play")
        assert time.monotonic() - begun > 0.6  # at full speed 0.3 s
        await page.send(type="speed", value=1)

    with_page(viewer.url, talk)


def test_an_option_is_taken_and_the_picture_that_stands_changes(viewer):
    async def talk(page):
        await stand_at(page, 1.0)
        before = page.snapshots[-1]
        count = len(page.snapshots)
        assert (await page.set("output.isotherm_low", 10.0))["ok"]
        assert (await page.set("output.isotherm_high", 90.0))["ok"]
        assert (await page.set("output.isotherm", True))["ok"]
        await page.until(lambda: len(page.snapshots) > count and moved(before, page.snapshots[-1]), "another picture of the same instant")
        assert page.snapshots[-1][0]["stamp_ns"] == before[0]["stamp_ns"]
        refused = await page.set("output.isotherm_low", 95.0)
        assert not refused["ok"]
        assert "must be less than output.isotherm_high (90)" in refused["reason"]
        refused = await page.set("output.thermal_weight", 7)
        assert refused["reason"] == "output.thermal_weight: 7 is out of range; give 0 to 1"
        assert "cannot be changed here" in (await page.set("model.device", "cuda"))["reason"]
        assert (await page.set("output.isotherm", False))["ok"]

    with_page(viewer.url, talk)


def moved(before, after):
    return np.abs(before[1]["fused"].astype(int) - after[1]["fused"]).mean() > 10


def test_a_page_that_does_not_draw_is_sent_two_pictures_and_no_more(viewer):
    async def talk(page):
        await page.send(type="seek", value=0)
        await page.send(type="play")
        await page.request("fused")
        await page.until(lambda: len(page.snapshots) == 2, "two pictures")
        await page.during(2.0)
        assert len(page.snapshots) == 2
        await page.send(type="drawn")
        await page.until(lambda: len(page.snapshots) == 3, "one more")
        await page.during(1.0)
        assert len(page.snapshots) == 3
        assert page.snapshots[2][0]["at_s"] > page.snapshots[1][0]["at_s"] + 5 * PERIOD_NS * 1e-9  # the newest, not the next

    with_page(viewer.url, talk, draws=False)


NONSENSE = '{"type": "request", "streams": 7, "points": [[1], [2, 2], "x"], "width": %s}'


def test_nonsense_from_a_page_does_no_harm(viewer):
    async def talk(page):
        huge = "9" * 400
        for text in ("", "[]", "7", "{", "[" * 10_000, '{"type": []}', f'{{"type": "seek", "value": {huge}}}', NONSENSE % huge):
            await page.socket.send_str(text)
        await page.send(type="seek", value="x")
        await page.send(type="set", name="no.such", value=[])
        for value in ({"a": 1}, None, int(huge)):
            assert not (await page.set("sync.slop_ms", value))["ok"]
        await page.socket.send_bytes(b"\x00" * 100)
        await page.request("rgb", "nothing", points=[[0.5, "x"], [2, 0], [0.1, 0.1]])
        await page.until(lambda: page.snapshots, "a picture all the same")

    with_page(viewer.url, talk)


# Who is let in.


@pytest.mark.parametrize(
    ("host", "status"), [("evil.example", 403), ("127.0.0.1.evil.example:80", 403), ("[", 403), ("localhost:1234", 200)]
)
def test_only_this_machine_s_names_open_the_page(viewer, host, status):
    assert fetch(viewer.url, headers={"Host": host})[0] == status


def test_another_site_s_page_gets_no_connection(viewer):
    async def talk(page):
        return page

    with_page(viewer.url, talk, headers={"Origin": f"http://127.0.0.1:{viewer.port}"})
    for origin in ("http://evil.example", f"http://127.0.0.1:{viewer.port + 1}", "null"):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            with_page(viewer.url, talk, headers={"Origin": origin})
        assert refused.value.status == 403


@pytest.mark.slow
def test_other_addresses_ask_for_a_token(bag, tmp_path):
    viewer = Viewer(tmp_path / "view.log", bag, "--host", "0.0.0.0", *PLAIN)
    url = f"http://127.0.0.1:{viewer.port}/"
    try:
        assert len(viewer.token) >= 20
        status, _, text = fetch(url)
        assert status == 401
        assert "requires a token" in text
        assert fetch(url, "app.js")[0] == fetch(url, "ws")[0] == 401
        assert fetch(url, "?token=wrong")[0] == 401
        status, _, text = fetch(url, method="POST", data={"token": "wrong"})
        assert (status, "Wrong token" in text) == (401, True)
        status, headers, _ = fetch(url, f"?token={viewer.token}")
        assert (status, headers["Location"]) == (303, "./")
        assert "HttpOnly" in headers["Set-Cookie"]
        assert "SameSite=Strict" in headers["Set-Cookie"]
        assert viewer.token not in headers["Set-Cookie"]
        cookie = {"Cookie": headers["Set-Cookie"].partition(";")[0]}
        assert fetch(url, headers=cookie)[0] == fetch(url, "app.js", headers=cookie)[0] == 200
        assert fetch(url, method="POST", data={"token": viewer.token})[0] == 303
    finally:
        viewer.close()


def test_what_is_local_and_which_tokens_will_do():
    assert [is_local(host) for host in ("127.0.0.1", "localhost", "::1", "127.1.2.3")] == [True] * 4
    assert [is_local(host) for host in ("0.0.0.0", "::", "192.168.1.7", "robot", "")] == [False] * 5
    assert choose_token("127.0.0.1", "") == ""
    assert choose_token("0.0.0.0", "") != choose_token("0.0.0.0", "")
    for weak in ("short", "with space in it", "with-ümlaut-in-it"):
        with pytest.raises(ConfigError, match="at least 12 ASCII characters"):
            choose_token("127.0.0.1", weak)
    access = Access("long-enough-token", local=False)
    assert access.token_matches("long-enough-token")
    assert not access.token_matches("long-enough-tokem")
    assert not access.token_matches("ü")
    assert not access.cookie_matches("")


# What is said when it cannot start.


def complaint(capsys, *words):
    assert main(["view", *map(str, words)]) == 1
    return capsys.readouterr().err.splitlines()[-1]


def test_a_taken_port_is_named(bag, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert complaint(capsys, bag, "--port", port).startswith(f"aenet view: port {port} of 127.0.0.1 is in use")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["none.mcap"], "there is no bag 'none.mcap'"),
        (["BAG", "--rgb-topic", "/nothing"], "has no picture topic '/nothing'; it has: /cam/image_raw (100), /ir/image_raw (100)"),
        (["BAG", "--host", "203.0.113.9"], "is not an address of this machine"),
        (["BAG", "--port", "70000"], "--port 70000: give 0 to 65535"),
        (["BAG", "--token", "short"], "--token is too weak"),
        (["BAG", "--max-hz", "0"], "--max-hz 0: give 0.1 to 120"),
        (["--fuse"], "are for a bag"),
    ],
)
def test_a_sentence_says_what_is_wrong(bag, capsys, arguments, words):
    assert words in complaint(capsys, *(bag if text == "BAG" else text for text in arguments))


def test_no_aiohttp_is_a_sentence(bag, capsys, monkeypatch):
    monkeypatch.setattr("aenet_ros.cli.view.find_spec", lambda name: None)
    assert "apt install python3-aiohttp, or pip install aiohttp" in complaint(capsys, bag)


# The parts.


def test_an_instant_is_complete_with_its_last_stream():
    grouper = StampGrouper()
    assert grouper.add("rgb", 100, "r100", 0) == {"rgb": "r100"}  # alone, it leads
    assert grouper.add("fused", 100, "f100", 10) == {"rgb": "r100", "fused": "f100"}
    assert grouper.add("rgb", 200, "r200", 20) == {}  # waits for its fused frame
    assert grouper.add("rgb", 300, "r300", 30) == {}
    assert grouper.add("fused", 200, "f200", 40) == {"rgb": "r200", "fused": "f200"}
    assert grouper.add("registered", 200, "t200", 41) == {"rgb": "r200", "fused": "f200", "registered": "t200"}
    assert grouper.add("fused", 300, "f300", 50) == {}
    late = 50 + 10_000_000_000
    assert grouper.add("rgb", 900, "r900", late) == {"rgb": "r900"}  # the node is gone, the camera is not


def test_frames_from_before_a_jump_back_are_not_grouped_with_new_ones():
    grouper = StampGrouper()
    second = 1_000_000_000
    for index in range(20):
        grouper.add("rgb", 100 * second + index, f"old {index}", index)
        grouper.add("fused", 100 * second + index, f"old fused {index}", index)
    assert grouper.add("fused", 5 * second, "fused", 21) == {"fused": "fused"}  # its rgb frame is lost
    assert grouper.add("rgb", 5 * second + 40, "rgb", 22) == {}
    assert grouper.add("fused", 5 * second + 40, "fused 2", 23) == {"rgb": "rgb", "fused": "fused 2"}


class Played:
    """A BagView without a server, and the snapshots that it delivers."""

    def __init__(self, path, options):
        self.snapshots = []
        self.view = BagView(path, build({"model.threads": 1, **options}), fuse=True)

    def __enter__(self):
        self.view.start(self.snapshots.append)
        return self

    def __exit__(self, *_):
        self.view.close()

    def wait(self, condition, what):
        deadline = time.monotonic() + PATIENCE_S
        while not (value := condition()):
            assert time.monotonic() < deadline, f"waited {PATIENCE_S} s for {what}; {self.view.state()}"
            time.sleep(0.02)
        return value

    def picture_at(self, at_s):
        """Seek while paused, and return the fused picture there."""
        count = len(self.snapshots)
        self.view.control("pause")
        self.view.control("seek", at_s)
        snapshot = self.wait(lambda: [one for one in self.snapshots[count:] if abs(one.at_ns * 1e-9 - at_s) < 0.06], "the picture")[-1]
        return snapshot.stamp_ns, snapshot.jpeg("fused", 4000, 90)


def test_a_seek_and_a_replay_forget_earlier_frames(tmp_path):
    """The counts of the bag grow, so that gain control with memory of the end would render the start differently."""
    with Played(make_drifting_bag(tmp_path / "drive"), {"agc.smoothing_s": 60.0, "agc.scene_cut": 0.0}) as played:
        assert played.view.state()["level"] == WAITING
        played.view.control("speed", 8.0)
        played.view.set_streams(frozenset({"fused"}))
        played.wait(lambda: played.view.state()["bag"]["ended"], "the end")
        first = played.snapshots[0]
        assert played.view.state()["level"] == OK
        assert played.picture_at(0.0) == (first.stamp_ns, first.jpeg("fused", 4000, 90))
        late = played.picture_at(0.8)
        played.picture_at(0.2)
        assert played.picture_at(0.8) == late


def test_a_network_that_loads_or_a_bag_without_pairs_is_not_ok(tmp_path):
    with Played(make_bag(tmp_path / "drive", thermal_offset_ns=900_000_000, count=4), {"sync.slop_ms": 1.0}) as played:
        played.view.set_streams(frozenset({"fused"}))
        played.wait(lambda: played.view.state()["bag"]["ended"], "the end")
        state = played.view.state()
        assert (state["level"], state["headline"]) == (WARN, "the bag has no picture to show")


def make_drifting_bag(path):
    maker = BagMaker(path, "mcap")
    ramp = np.tile(np.linspace(0, 2000, SIZE[1]).astype(np.uint16), (SIZE[0], 1))
    with maker.writer:
        thermal, rgb = maker.topic("/ir/image_raw", IMAGE), maker.topic("/cam/image_raw", IMAGE)
        for index in range(COUNT // 2):
            stamp = BEGIN_NS + index * PERIOD_NS
            maker.image(thermal, stamp + 6_000_000, stamp, ramp + np.uint16(28_000 + 40 * index), "mono16", "thermal")
            maker.image(rgb, stamp + 9_000_000, stamp, np.full((*SIZE, 3), 90, np.uint8), "rgb8", "rgb_optical")
    return path


def test_readings_of_points_and_of_a_box():
    counts = np.zeros((10, 20), np.uint16)
    counts[2:8, 4:16] = 30_000  # 26.85 degC
    counts[4:7, 10:13] = 31_000  # 36.85 degC
    snapshot = Snapshot(1, {}, lambda: counts, build({"agc.profile": "centikelvin"}))
    readings = snapshot.readings(
        [(0.55, 0.55), (1.0, 1.0)], (0.75, 0.75, 0.0, 0.0)
    )  # from the right bottom corner: without column 15, row 7
    assert (readings.unit, readings.no_degrees) == ("°C", "")
    assert readings.points == [(pytest.approx(36.85, abs=1e-3), 31_000), (None, None)]  # the other one is outside the thermal view
    # 5 rows of 11 pixels have a value, 9 of them the higher one.
    assert readings.box == (pytest.approx(26.85, abs=0.01), pytest.approx(26.85 + 10 * 9 / 66, abs=0.01), pytest.approx(36.85, abs=0.01))
    assert snapshot.readings([], (0.0, 0.0, 0.1, 0.1)).box is None
    assert snapshot.readings([], (1.0, 1.0, 1.0, 1.0)).box is None  # one pixel
    assert Snapshot(1, {}).readings([(0.1, 0.1)]) is None


@pytest.mark.parametrize(
    ("counts", "options", "words"),
    [
        (np.uint16(3000), None, "not reported"),
        (np.uint16(30_000), {}, "auto does not say what counts mean"),
        (np.uint16(3001), {"agc.profile": "celsius"}, "3001.0 degrees Celsius: set the profile"),
        (np.uint8(200), {"agc.profile": "lepton"}, "set the profile of the camera"),
        (np.float32(25.5), {"agc.profile": "kelvin"}, "-247.6 degrees"),
    ],
)
def test_no_degrees_where_counts_are_no_temperatures(counts, options, words):
    frame = np.full((16, 16), counts)
    readings = Snapshot(1, {}, lambda: frame, None if options is None else build(options)).readings([(0.5, 0.5)])
    assert readings.unit == "counts"
    assert words in readings.no_degrees
    assert readings.points == [(counts, counts)]


def test_a_picture_is_made_smaller_but_never_larger():
    picture = np.full((40, 80, 3), 90, np.uint8)
    snapshot = Snapshot(1, {"rgb": Frame(1, picture, "rgb8")})
    sizes = [cv2.imdecode(np.frombuffer(snapshot.jpeg("rgb", width, 80), np.uint8), 1).shape for width in (20, 80, 500)]
    assert sizes == [(10, 20, 3), (40, 80, 3), (40, 80, 3)]


def test_what_lies_outside_the_thermal_view_does_not_dim_the_rest():
    counts = np.tile(np.linspace(29_000, 29_999, 64).astype(np.uint16), (48, 1))
    counts[:, :32] = 0
    grey = ThermalRenderer().grey(counts, 1, AgcConfig())
    assert (grey[:, :32] == 0).all()
    assert grey[:, 32].max() < 20  # the coldest that is seen is black all the same
    assert grey.max() > 235
    drawn = ThermalRenderer().render(counts, 1, build({"output.palette": "black_hot"})).data
    assert (drawn[:, :32] == 0).all()  # not the colour of the coldest
    assert drawn[:, 32].min() > 235


def test_8_bit_counts_are_stretched_as_in_the_fusion_and_the_outside_stays_black():
    counts = np.full((100, 100), 40, np.uint8)
    counts[:, :50] = 0
    counts[10:20, 60:70] = 80  # 2 %: the hot end
    grey = ThermalRenderer().grey(counts, 1, AgcConfig())
    assert (grey[:, :50] == 0).all()
    assert (grey[50:, 50:] == 40).all()
    assert (grey[10:20, 60:70] == 40 + round(40 * (235 - 40) / (80 - 40))).all()
    assert (ThermalRenderer().grey(counts, 1, AgcConfig(hot_gain=1.0)) == counts).all()


NOW_S = 1000.0
FACTS = RobotFacts("/fusion", "7", NOW_S - 60, True, NOW_S - 0.5, OK, "30.0 fused frames", "/fused/image", 1, NOW_S - 0.1, True)


@pytest.mark.parametrize(
    ("changes", "level", "words"),
    [
        ({}, OK, "30.0 fused frames"),
        ({"search_start_s": NOW_S - 0.5, "diagnostics_s": None, "in_graph": False}, WAITING, "searching for /fusion"),
        ({"diagnostics_s": None, "in_graph": False}, OFFLINE, "no node /fusion on ROS domain 7"),
        ({"diagnostics_s": NOW_S - 9, "in_graph": False}, OFFLINE, "/fusion has stopped"),
        ({"diagnostics_s": NOW_S - 9}, OFFLINE, "no diagnostics for 9 s"),
        (
            {"diagnostics_s": None, "in_graph": False, "other_fused_topics": ["/r1/fused/image"]},
            OFFLINE,
            "fused pictures are on /r1/fused/image",
        ),
        ({"level": 2, "message": "no publisher on /rgb"}, ERROR, "no publisher on /rgb"),
        ({"level": RobotFacts.level, "message": RobotFacts.message}, WAITING, "not reported"),
        ({"alarm_level": ERROR, "alarm": "boiler has 90.0 degC"}, ERROR, "boiler has 90.0 degC"),
        ({"alarm_level": WARN, "alarm": "boiler", "level": ERROR, "message": "no publisher on /rgb"}, ERROR, "no publisher on /rgb"),
        ({"fused_publishers": 0}, ERROR, "/fused/image has no publisher"),
        ({"fused_s": None}, WARN, "this viewer receives no fused frame"),
        ({"fused_s": None, "search_start_s": NOW_S - 1}, WAITING, "waiting for the first fused frame"),
    ],
)
def test_status_text_of_a_robot(changes, level, words):
    text = robot_status_text(replace(FACTS, **changes), NOW_S)
    assert text.level == level
    assert words in text.headline
