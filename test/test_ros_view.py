"""`aenet view` of a robot: the real rig and the real fusing node as processes over DDS, seen by a page and by a real browser."""

import contextlib
import os
import shutil
import time
from dataclasses import asdict

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="rclpy is not installed: pip install '.[ros]' or source a ROS 2")

from view_client import PATIENCE_S, Viewer, with_page  # noqa: E402

from aenet_ros.cli.processes import Processes  # noqa: E402
from aenet_ros.workbench.simulation.geometry import rgb_to_thermal  # noqa: E402
from aenet_ros.workbench.simulation.rig_config import RigConfig  # noqa: E402

SIZE = (160, 128)
CHROMIUM = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
DRIVER = shutil.which("chromedriver")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--window-size=1280,900"),
)


class Robot:
    """The rig and the node; ``environment`` reaches them."""

    def __init__(self, folder):
        self.processes = Processes(folder)
        self.environment = {name: value for name, value in self.processes.environment.items() if name.startswith(("ROS_", "FAST"))}
        self.processes.environment["OMP_NUM_THREADS"] = "1"
        sizes = {f"{role}_{side}": value for role in ("thermal", "rgb") for side, value in zip(("width", "height"), SIZE, strict=True)}
        self.rig = RigConfig(**sizes, thermal_hz=10.0, rgb_hz=10.0, scenes="day", zoom=1.2)

    def start_node(self):
        homography = [float(value) for value in rgb_to_thermal(self.rig).ravel()]
        options = {"registration.mode": "homography", "registration.homography": homography, "agc.profile": "centikelvin"}
        # No warning may depend on how busy the machine is: the page waits for OK.
        limits = {"diagnostics.min_rate_hz": 0.0, "diagnostics.max_latency_ms": 0.0, "diagnostics.max_sync_error_ms": 0.0}
        options |= {"model.threads": 1, "diagnostics.period_s": 0.5}
        self.processes.start("node", "aenet_ros.ros.node", {**options, **limits})

    def start_rig(self):
        self.processes.start("rig", "aenet_ros.ros.tools.rig_node", asdict(self.rig))


@pytest.fixture(scope="module")
def robot(tmp_path_factory):
    one = Robot(tmp_path_factory.mktemp("robot"))
    with one.processes:
        one.start_node()
        one.start_rig()
        yield one


@pytest.fixture(scope="module")
def viewer(robot, tmp_path_factory):
    process = Viewer(tmp_path_factory.mktemp("log") / "view.log", environment=robot.environment)
    yield process
    assert process.close() == 0
    assert "Traceback" not in process.log()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("no Chromium with its driver here: apt install chromium chromium-driver")
    webdriver = pytest.importorskip("selenium.webdriver", reason="the browser is driven with selenium: pip install '.[test]'")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.set_page_load_timeout(PATIENCE_S)
    yield driver
    driver.quit()


@contextlib.contextmanager
def onlooker(robot):
    """A node beside the robot that asks the graph."""
    before = {name: os.environ.get(name) for name in robot.environment}
    os.environ.update(robot.environment)
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node("onlooker", context=context)
    try:
        yield node
    finally:
        node.destroy_node()
        rclpy.try_shutdown(context=context)
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def wait(condition, what, patience_s=PATIENCE_S):
    deadline = time.monotonic() + patience_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {patience_s} s for {what}"
        time.sleep(0.1)
    return value


def test_a_robot_is_looked_at_only_while_a_page_is_open(robot, viewer):
    with onlooker(robot) as node:
        wait(lambda: node.count_publishers("/fused/image") == 1 and node.count_publishers("/rgb/image_raw") == 1, "the robot")

        def viewers(topic):
            return [info for info in node.get_subscriptions_info_by_topic(topic) if info.node_name == "aenet_view"]

        assert not viewers("/fused/image")

        async def talk(page):
            await page.request("fused")
            await page.until(lambda: len(page.snapshots) > 1, "pictures")
            await page.until(lambda: viewers("/fused/image"), "a subscription in the graph")
            [seen] = viewers("/fused/image")
            assert (seen.qos_profile.reliability.name, seen.qos_profile.depth) in (("BEST_EFFORT", 1), ("BEST_EFFORT", 0))  # 0: not told
            assert not viewers("/rgb/image_raw")
            assert not viewers("/fused/thermal_registered")
            await page.request("rgb", "fused", points=[(0.5, 0.5)])
            await page.until(lambda: viewers("/rgb/image_raw") and viewers("/fused/thermal_registered"), "the other streams")
            assert not viewers("/hot_spots/json")
            await page.request("fused", spots=True)
            await page.until(lambda: viewers("/hot_spots/json"), "the spots")
            await page.request("fused")
            await page.until(lambda: not viewers("/hot_spots/json"), "the spots to be left")
            await page.until(lambda: not viewers("/rgb/image_raw") and not viewers("/fused/thermal_registered"), "them to be left")

        with_page(viewer.url, talk)
        wait(lambda: not viewers("/fused/image") and not viewers("/diagnostics"), "the robot to be left alone")


def test_pictures_of_one_instant_temperatures_and_words(viewer):
    async def talk(page):
        await page.request("rgb", "thermal", "fused", points=[(0.5, 0.5), (0.0, 0.0)])
        await page.until(
            lambda: any(len(pictures) == 3 and header["readings"]["unit"] == "°C" for header, pictures in page.snapshots), "all three"
        )
        await page.until(lambda: page.states and page.states[-1]["values"], "the configuration")
        await page.until(lambda: page.states[-1]["level"] == 0 and "fused frames a second" in page.states[-1]["headline"], "status OK")
        return page

    page = with_page(viewer.url, talk)
    header, pictures = next(moment for moment in page.snapshots if len(moment[1]) == 3 and moment[0]["readings"]["unit"] == "°C")
    assert [picture.shape[:2] for picture in pictures.values()] == [SIZE[::-1]] * 3
    assert -20 < header["readings"]["points"][0][0] < 60  # a street
    statuses = {status["name"]: status for status in page.states[-1]["statuses"]}
    assert {"fusion", "input rgb", "input thermal", "pairing", "model"} <= statuses.keys()
    assert page.states[-1]["values"]["registration.mode"] == "homography"
    names = {option["name"] for option in page.hello["options"]}
    assert {"output.thermal_weight", "agc.mode", "sync.slop_ms"} <= names
    assert not {"model.device", "registration.mode"} & names


def test_hot_spots_and_alarms_of_the_node(viewer):
    async def talk(page):
        await page.request("fused", spots=True, box=[0.0, 0.0, 1.0, 1.0])
        await page.until(lambda: page.states and page.states[-1]["values"], "the configuration")
        assert page.states[-1]["alarms"] == []
        assert (await page.set("hot_spots.level", 3.0))["ok"]
        assert (await page.set("alarms.regions", "street 10,10 100,100 high=-40"))["ok"]
        await page.until(lambda: page.states[-1]["level"] == 2 and page.states[-1]["alarms"], "the alarm")
        assert "street has" in page.states[-1]["headline"]
        [row] = page.states[-1]["alarms"]
        assert (row["name"], row["level"]) == ("street", 2)
        assert float(row["values"]["maximum [degC]"]) > -40

        def complete():
            headers = [header for header, _ in page.snapshots if header.get("spots") and header["readings"]]
            return next((header for header in headers if header["spots"]["spots"] and header["spots"]["regions"]), None)

        header = await page.until(complete, "a spot and the region")
        spot = header["spots"]["spots"][0]
        low, mean, high = header["readings"]["box"]
        assert -20 < low < mean < high < 60  # a street
        assert mean + 3 < spot["value"] < 60
        assert all(0 <= side <= 1 for side in (*spot["at"], *spot["box"]))
        assert (header["spots"]["regions"][0]["name"], len(header["spots"]["regions"][0]["points"])) == ("street", 4)
        assert (await page.set("alarms.regions", ""))["ok"]
        await page.until(lambda: page.states[-1]["alarms"] == [] and page.states[-1]["level"] == 0, "the alarm to go with its region")

    with_page(viewer.url, talk)


def node_s_value(robot, name):
    """What the node itself says the parameter is."""
    from rcl_interfaces.srv import GetParameters

    with onlooker(robot) as node:
        client = node.create_client(GetParameters, "/fusion/get_parameters")
        assert client.wait_for_service(PATIENCE_S)
        future = client.call_async(GetParameters.Request(names=[name]))
        rclpy_executor = rclpy.executors.SingleThreadedExecutor(context=node.context)
        rclpy_executor.add_node(node)
        rclpy_executor.spin_until_future_complete(future, timeout_sec=PATIENCE_S)
        rclpy_executor.shutdown()
        return rclpy.parameter.parameter_value_to_python(future.result().values[0])


def test_parameters_are_set_at_the_node_which_may_refuse(robot, viewer):
    async def talk(page):
        await page.request("fused")
        await page.until(lambda: page.states and page.states[-1]["values"], "the node's configuration")
        assert (await page.set("sync.slop_ms", 31))["ok"]  # an integer for a float
        await page.until(lambda: page.states[-1]["values"]["sync.slop_ms"] == 31.0, "the new value")
        refused = await page.set("output.isotherm_low", 99999.0)
        assert not refused["ok"]
        assert "output.isotherm_low" in refused["reason"]
        refused = await page.set("agc.mode", "best")
        assert "agc.mode: 'best' is not known; give one of auto, percentile, fixed" in refused["reason"]
        for value in ({"a": 1}, ["x", 1]):  # nothing that a ROS parameter can hold
            assert not (await page.set("sync.slop_ms", value))["ok"]

    with_page(viewer.url, talk)
    assert node_s_value(robot, "sync.slop_ms") == 31.0


def test_a_message_that_cannot_be_read_does_not_stop_the_pictures(robot, tmp_path):
    from sensor_msgs.msg import Image

    viewer = Viewer(tmp_path / "view.log", "--namespace", "/other", environment=robot.environment)
    picture = Image(height=8, width=8, encoding="mono8", step=8, data=[7] * 64)
    try:
        with onlooker(robot) as node:
            publisher = node.create_publisher(Image, "/other/fused/image", 1)

            async def talk(page):
                await page.request("fused")
                await page.until(lambda: publisher.get_subscription_count(), "the subscription")
                for _ in range(5):
                    publisher.publish(bytes((0, 1, 0, 0, 1, 0, 0, 0)))  # ends within the stamp
                    await page.during(0.2)
                await page.until(lambda: publisher.publish(picture) or page.snapshots, "a picture after the damaged messages")

            with_page(viewer.url, talk)
            assert "error in a callback" in viewer.log()
    finally:
        assert viewer.close() == 0


# The browser.

PIXELS = """
const canvas = document.querySelector(`.pane[data-stream="${arguments[0]}"] canvas`);
const small = document.createElement('canvas');
[small.width, small.height] = [32, 26];
small.getContext('2d').drawImage(canvas, 0, 0, 32, 26);
return [canvas.width, canvas.height, ...small.getContext('2d').getImageData(0, 0, 32, 26).data];
"""
STAMP = """return document.querySelector(`.pane[data-stream="${arguments[0]}"]`).dataset.stamp || '';"""


def pixels(browser, stream):
    width, height, *values = browser.execute_script(PIXELS, stream)
    return (width, height), np.array(values, float).reshape(26, 32, 4)[:, :, :3]


def element(browser, selector):
    return browser.find_element("css selector", selector)


def no_complaints(browser):
    return [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE" and "ws" not in entry["message"]]


@pytest.fixture
def page(browser, viewer):
    browser.get(viewer.url)
    wait(lambda: browser.execute_script(STAMP, "fused"), "a fused picture in the browser")
    return browser


def choose(browser, option, value):
    from selenium.webdriver.support.ui import Select

    select = element(browser, f"[data-option='{option}']")
    wait(select.is_enabled, "the node's values")
    Select(select).select_by_value(value)


def test_pictures_arrive_and_change(page, robot):
    size, first = pixels(page, "fused")
    assert size == SIZE
    assert first.std() > 10  # a picture, not a flat colour
    wait(lambda: np.abs(pixels(page, "fused")[1] - first).mean() > 0.5, "the picture to move")
    _, rgb = pixels(page, "rgb")
    assert rgb.std() > 10
    # Shown are the two of the slider; what is not shown is not sent.
    assert page.execute_script(STAMP, "thermal") == ""
    element(page, "[data-mode=thermal]").click()
    wait(lambda: page.execute_script(STAMP, "thermal"), "the thermal picture")
    assert np.ptp(pixels(page, "thermal")[1], axis=2).max() > 50  # in colours
    choose(page, "output.palette", "white_hot")
    wait(lambda: np.ptp(pixels(page, "thermal")[1], axis=2).max() <= 2, "grey")
    assert pixels(page, "thermal")[1].std() > 10
    assert node_s_value(robot, "output.palette") == "white_hot"
    choose(page, "output.palette", "ironbow")
    element(page, "[data-mode=swipe]").click()
    assert no_complaints(page) == []


def test_the_slider_moves_the_divide_by_mouse_and_by_keys(page):
    from selenium.webdriver import ActionChains, Keys

    element(page, "[data-mode=swipe]").click()
    divider, stage = element(page, "#divider"), element(page, "#stage")

    def clip():
        return page.execute_script("return getComputedStyle(document.querySelector('.pane.left')).clipPath")

    assert divider.get_attribute("aria-valuenow") == "50"
    before = clip()
    ActionChains(page).click_and_hold(divider).move_by_offset(stage.size["width"] // 4, 0).release().perform()
    assert int(divider.get_attribute("aria-valuenow")) == pytest.approx(75, abs=2)
    assert clip() != before
    assert divider.rect["x"] + divider.rect["width"] / 2 == pytest.approx(stage.rect["x"] + 0.75 * stage.size["width"], abs=8)
    divider.send_keys(Keys.HOME)
    assert divider.get_attribute("aria-valuenow") == "0"
    divider.send_keys(Keys.ARROW_RIGHT)
    assert divider.get_attribute("aria-valuenow") == "2"


def test_the_temperature_under_the_cursor_and_at_a_point(page):
    from selenium.webdriver import ActionChains

    stage = element(page, "#stage")
    # In the middle of the right half, which the divider does not cover.
    ActionChains(page).move_to_element_with_offset(stage, stage.size["width"] // 4, 10).perform()
    wait(lambda: "°C" in element(page, "#at-cursor").text, "the temperature under the cursor")
    assert -20 < float(element(page, "#at-cursor").text.split(" °C")[0]) < 60
    ActionChains(page).click().perform()
    wait(lambda: "°C" in element(page, "#at-pin").text, "the temperature at the point")
    element(page, "#unpin").click()
    wait(lambda: "click the picture" in element(page, "#at-pin").text, "the point to go")


def test_box_chart_spots_and_stages(page):
    from selenium.webdriver import ActionChains

    stage = element(page, "#stage")
    element(page, "#draw-box").click()
    corner = ActionChains(page).move_to_element_with_offset(stage, stage.size["width"] // 8, -stage.size["height"] // 4)
    corner.click_and_hold().move_by_offset(stage.size["width"] // 4, stage.size["height"] // 2).release().perform()
    wait(lambda: "max" in element(page, "#in-box").text, "the box's temperatures")
    low, mean, high = (float(part.split()[1]) for part in element(page, "#in-box").text.split(" · "))
    assert -30 < low < mean < high < 60
    assert element(page, "#divider").get_attribute("aria-valuenow") == "50"  # drawing did not move the slider
    wait(lambda: "max of the box" in element(page, "#trend").text, "the chart")
    inked = "return document.querySelector('#chart').getContext('2d').getImageData(0, 0, 600, 60).data.some((value) => value)"
    assert page.execute_script(inked)
    choose(page, "output.style", "side_by_side")  # the fused picture has other pixels than the values now
    marked = "return document.querySelectorAll(`.pane[data-stream=${arguments[0]}] .frame.box`).length"
    wait(lambda: page.execute_script(marked, "fused") == 0, "no box over a picture it does not fit")
    assert page.execute_script(marked, "rgb") == 1
    choose(page, "output.style", "fusion")
    element(page, "#mark-spots").click()
    wait(lambda: page.execute_script("return document.querySelectorAll('.pane[data-stream=fused] .mark.spot').length"), "a marked spot")
    assert "°C" in page.execute_script("return document.querySelector('.mark.spot').dataset.text")
    element(page, "#mark-spots").click()
    element(page, "#unbox").click()
    assert {"agc", "fusion", "total"} <= set(element(page, "#stages").text.split())
    assert no_complaints(page) == []


def draw_with_a_finger(page, begin, end):
    box = page.execute_script("return document.querySelector('#stage').getBoundingClientRect().toJSON()")
    for kind, share in (("touchStart", 0.0), ("touchMove", 0.5), ("touchMove", 1.0), ("touchEnd", None)):
        places = [] if share is None else [(one + share * (other - one)) for one, other in zip(begin, end, strict=True)]
        points = [{"x": box["x"] + places[0] * box["width"], "y": box["y"] + places[1] * box["height"]}] if places else []
        page.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})


def test_on_a_phone_the_picture_stays_in_view(page):
    size = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        element(page, "#tab-params").click()
        for mode in ("grid", "thermal", "swipe"):
            element(page, f"[data-mode={mode}]").click()
            page.execute_script("document.querySelector('#groups details:last-child').scrollIntoView()")
            wait(lambda: page.execute_script("return window.scrollY") > 500, "the page to scroll")
            box = page.execute_script("return document.querySelector('#stage').getBoundingClientRect().toJSON()")
            assert 0 <= box["top"] < 20
            assert 100 < box["height"] < 844 / 2
            assert page.execute_script("return document.documentElement.scrollWidth") == 390
            page.execute_script("window.scrollTo(0, 0)")
        element(page, "#draw-box").click()
        draw_with_a_finger(page, (0.1, 0.1), (0.4, 0.6))
        wait(lambda: "max" in element(page, "#in-box").text, "the box's temperatures")
        assert element(page, "#divider").get_attribute("aria-valuenow") == "50"
        draw_with_a_finger(page, (0.6, 0.3), (0.8, 0.3))  # now it moves the slider
        assert int(element(page, "#divider").get_attribute("aria-valuenow")) == pytest.approx(80, abs=2)
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_a_parameter_changed_in_the_page_changes_at_the_node(page, robot):
    from selenium.webdriver import Keys

    element(page, "#tab-params").click()
    field = element(page, "[id='p-output.thermal_weight']")
    wait(field.is_enabled, "the node's values")

    def enter(text):
        field.send_keys(Keys.CONTROL, "a")
        field.send_keys(text, Keys.ENTER)

    enter("0.25")
    said = element(page, "[data-name='output.thermal_weight'] .message")
    wait(lambda: said.text == "applied", "the node to take it")
    assert node_s_value(robot, "output.thermal_weight") == 0.25
    enter("7")
    wait(lambda: "thermal_weight" in said.text and "applied" not in said.text, "the refusal")
    wait(lambda: float(field.get_attribute("value")) == 0.25, "the value in force to come back")
    assert node_s_value(robot, "output.thermal_weight") == 0.25
    element(page, "[data-name='output.thermal_weight'] .reset").click()
    wait(lambda: said.text == "applied", "the default to be taken")
    assert node_s_value(robot, "output.thermal_weight") == 1.0


def test_a_robot_that_stops_is_said_in_words_and_one_that_comes_back_is_shown(page, robot):
    def headline():
        return element(page, "#headline").text

    wait(lambda: "fused frames a second" in headline(), "status OK")
    robot.processes.stop("rig")
    wait(lambda: "frame for" in headline() or "no publisher" in headline() or "silent" in headline(), "words on the cameras")
    age = "return document.querySelector('.pane.right').dataset.age || ''"
    wait(lambda: page.execute_script(age).endswith(" s old"), "the age of the picture")
    robot.processes.stop("node")
    wait(lambda: "/fusion has stopped" in headline() or "/fusion has published no diagnostics" in headline(), "words on the node")
    assert "continues when the node" in element(page, "#remedy").text
    wait(lambda: element(page, "#pill").text == "OFFLINE", "the label OFFLINE")
    assert page.execute_script("return document.querySelector('.pane.right').classList.contains('stale')")
    before = page.execute_script(STAMP, "fused")
    robot.start_node()
    robot.start_rig()
    wait(lambda: page.execute_script(STAMP, "fused") > before, "a new picture without loading the page again")
    wait(lambda: "fused frames a second" in headline(), "status OK again")
    assert element(page, "#pill").text == "OK"
    assert page.execute_script(age) == ""


def test_a_viewer_that_stops_is_said_in_words_and_one_that_comes_back_is_found(browser, robot, tmp_path):
    viewer = Viewer(tmp_path / "one.log", environment=robot.environment)
    try:
        browser.get(viewer.url)
        wait(lambda: browser.execute_script(STAMP, "fused"), "a picture")
        assert viewer.close() == 0
        wait(lambda: "cannot be reached" in element(browser, "#headline").text, "words")
        stamp = browser.execute_script(STAMP, "fused")
        viewer = Viewer(tmp_path / "two.log", "--port", viewer.port, environment=robot.environment)
        wait(lambda: browser.execute_script(STAMP, "fused") > stamp, "a new picture without loading the page again")
    finally:
        viewer.close()
