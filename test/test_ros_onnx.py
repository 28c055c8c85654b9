"""The fusing node on the ONNX backend: it publishes torch's pixels and says what it runs."""

import json

import numpy as np
import pytest
from ros_harness import OK, Robot, dim_street, make_image, warm_square

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (the extra [export])")
pytest.importorskip("onnx", reason="onnx is not installed (the extra [export])")

from aenet_ros.cli.main import main
from aenet_ros.core.frames import Frame, FramePair
from aenet_ros.pipeline import FusionPipeline

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "aenet.onnx"
    assert main(["export", "-o", str(path)]) == 0
    return path


@pytest.fixture
def robot_with(tmp_path):
    robots = []

    def start(**parameters):
        robots.append(Robot(tmp_path, {"diagnostics.period_s": 0.2, "degraded.after_s": 30.0, "model.backend": "onnx", **parameters}))
        robots[-1].start_node()
        return robots[-1]

    yield start
    for robot in robots:
        robot.close()


def test_the_node_runs_an_onnx_file_and_publishes_what_torch_makes(robot_with, file):
    robot = robot_with(**{"model.weights": str(file), "model.device": "cpu"})
    thermal, rgb = (warm_square() // 40).astype(np.uint8), dim_street()
    fused = robot.publish_until_fused(thermal=make_image(thermal, "mono8", 1), rgb=make_image(rgb, "rgb8", 1), timeout_s=60)
    by_torch = FusionPipeline().process(FramePair(Frame(1, thermal, "mono8"), Frame(1, rgb, "rgb8"))).image
    difference = np.abs(np.frombuffer(fused.data, np.uint8).reshape(by_torch.shape).astype(int) - by_torch)
    assert difference.max() <= 1
    assert np.abs(by_torch.astype(int) - rgb).max() > 30
    info = json.loads(robot.wait(lambda: robot.infos and robot.infos[-1].data, "~/info"))
    assert info["configuration"]["model.backend"] == "onnx"
    assert info["model"]["sha256"] != info["model"]["weights_sha256"]
    assert robot.wait_status("model", OK, "cpu fp32")
    assert robot.value("model", "weights") == info["model"]["sha256"][:12]
