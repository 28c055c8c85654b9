"""The files of examples/, run as their first lines say."""

import runpy
from pathlib import Path

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
HOT_C = 60.0


def run(name, *arguments):
    runpy.run_path(str(EXAMPLES / name))["main"](*map(str, arguments))


def centikelvin():
    """A room of 20 degrees with a hot square: uint16 [96, 128]."""
    counts = np.full((96, 128), 29_315, np.uint16)
    counts[30:50, 70:90] = round((HOT_C + 273.15) * 100)
    return counts


@pytest.fixture
def pictures(tmp_path):
    """thermal.png, counts.png and rgb.png."""
    rows, columns = np.mgrid[:96, :128]
    cv2.imwrite(str(tmp_path / "rgb.png"), np.dstack([40 + rows, 60 + columns // 2, 90 + rows // 2]).astype(np.uint8))
    cv2.imwrite(str(tmp_path / "counts.png"), centikelvin())
    cv2.imwrite(str(tmp_path / "thermal.png"), np.where(centikelvin() > 30_000, 250, 40).astype(np.uint8))
    return tmp_path


def square_and_beside(path):
    fused = cv2.imread(str(path)).astype(float)
    assert fused.shape == (96, 128, 3)
    return fused[32:48, 72:88].mean(), fused[60:90, 72:88].mean()


@pytest.mark.parametrize("name", ["fuse_two_files.py", "fuse_radiometric.py", "fine_tune.py"])
def test_without_arguments_an_example_says_how_it_is_called(name, monkeypatch):
    monkeypatch.setattr("sys.argv", [name])
    with pytest.raises(SystemExit, match=rf"`python examples/{name} "):
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")


def test_two_files(pictures):
    run("fuse_two_files.py", pictures / "thermal.png", pictures / "rgb.png", pictures / "fused.png")
    hot, cool = square_and_beside(pictures / "fused.png")
    assert hot > cool + 30


def test_radiometric_pair(pictures, capsys):
    run("fuse_radiometric.py", pictures / "counts.png", pictures / "rgb.png", pictures / "fused.png", "lepton")
    said = capsys.readouterr().out
    assert said.splitlines()[0] == "20.0 to 60.0 degC"
    assert "60.0 degC, 400 pixels" in said.splitlines()[1]
    hot, cool = square_and_beside(pictures / "fused.png")
    assert hot > cool + 30


def test_subscriber(tmp_path, monkeypatch):
    rclpy = pytest.importorskip("rclpy", reason="rclpy is not installed: pip install '.[ros]' or source a ROS 2")
    from rclpy.executors import SingleThreadedExecutor
    from ros_harness import make_image, own_domain

    monkeypatch.setenv("ROS_LOG_DIR", str(tmp_path))
    example = runpy.run_path(str(EXAMPLES / "hottest_pixel_node.py"))
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=own_domain())
    node = example["HottestPixel"](context=context)
    publisher = node.create_publisher(example["Image"], "fused/thermal_registered", 1)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    message = make_image(centikelvin(), "mono16", 1)
    try:
        for _ in range(300):
            publisher.publish(message)
            executor.spin_once(timeout_sec=0.1)
            if node.hottest:
                break
        x, y, degrees = node.hottest
        assert 70 <= x < 90
        assert 30 <= y < 50
        assert degrees == pytest.approx(HOT_C, abs=0.01)
    finally:
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown(context=context)


def test_two_robots():
    # Not `launch` itself: the repository's folder of that name passes for an empty package.
    pytest.importorskip("launch.actions", reason="launch is not installed (it comes with ROS 2 from apt)")
    pytest.importorskip("launch_ros.actions", reason="launch_ros is not installed (it comes with ROS 2 from apt)")
    from launch.launch_description_sources import get_launch_description_from_python_launch_file as load
    from launch_ros.actions import Node

    from launch import LaunchContext

    context, nodes = LaunchContext(), []
    waiting = list(load(str(EXAMPLES / "two_robots.launch.py")).entities)
    while waiting:
        entity = waiting.pop(0)
        if isinstance(entity, Node):
            entity._perform_substitutions(context)  # as execute() does, without starting a process
            nodes.append(entity)
        else:
            waiting = list(entity.visit(context) or []) + waiting
    assert sorted(node.node_name for node in nodes) == ["/robot1/fusion", "/robot2/fusion"]
    remapped = [("thermal/image_raw", "boson/image_raw"), ("rgb/image_raw", "camera/color/image_raw")]
    assert next(node for node in nodes if node.node_name == "/robot1/fusion").expanded_remapping_rules == remapped


def test_fine_tuning(pictures, tmp_path, capsys):
    for name in ("thermal", "rgb"):
        (tmp_path / name).mkdir()
        for index in range(2):
            (tmp_path / name / f"{index}.png").write_bytes((pictures / f"{name}.png").read_bytes())
    quick = ("--steps", 2, "--batch", 2, "--crop", 32, "--threads", 1)
    run("fine_tune.py", tmp_path / "thermal", tmp_path / "rgb", tmp_path / "run", *quick)
    assert "mean change" in capsys.readouterr().out
    assert cv2.imread(str(tmp_path / "run" / "before_after.png")).shape == (96, 256, 3)
    assert (tmp_path / "run" / "aenet.json").is_file()


def test_every_example_is_run_and_listed():
    files = {path.name for path in EXAMPLES.iterdir() if path.name.endswith(".py")}
    listed = (EXAMPLES / "README.md").read_text()
    tested = Path(__file__).read_text()
    assert len(files) == 5
    assert all(f"`{name}`" in listed and f'"{name}"' in tested for name in files)
