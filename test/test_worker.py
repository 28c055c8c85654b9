"""The mailbox with one slot, the thread behind it, and the analysis that runs after publishing."""

import threading

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install '.[ros]' or source a ROS 2")

from aenet_ros.config import Config
from aenet_ros.core.frames import Frame, FusedFrame
from aenet_ros.core.mailbox import Mailbox
from aenet_ros.health.fallback import FallbackPolicy
from aenet_ros.health.quality import QualityMonitor
from aenet_ros.health.status import OK, WARN
from aenet_ros.pipeline import FusionPipeline
from aenet_ros.ros.analysis import ArrivedFrame, DeferredAnalysis

GENEROUS_S = 30.0


def test_the_newest_item_replaces_the_waiting_one_which_is_returned():
    mailbox = Mailbox()
    assert [mailbox.put(item) for item in (1, 2, 3)] == [[], [1], [2]]
    assert mailbox.waiting
    assert mailbox.take(0.0) == 3
    assert not mailbox.waiting
    assert mailbox.take(0.0) is None
    deep = Mailbox(2)
    assert [deep.put(item) for item in (1, 2, 3)] == [[], [], [1]]
    assert [deep.take(0.0) for _ in range(3)] == [2, 3, None]


def test_a_taker_waits_for_an_item_and_is_woken_by_close():
    mailbox, taken = Mailbox(), []
    taker = threading.Thread(target=lambda: [taken.append(mailbox.take(None)) for _ in range(2)])
    taker.start()
    mailbox.put("item")
    while not taken:
        threading.Event().wait(0.001)
    assert mailbox.close() == []
    taker.join(GENEROUS_S)
    assert taken == ["item", None]
    assert mailbox.closed


def test_what_waits_at_close_is_returned():
    mailbox = Mailbox()
    mailbox.put("waits")
    assert mailbox.close() == ["waits"]
    assert mailbox.take(0.0) is None


class Recorder:
    """Stands where the node's offset service and alignment monitor do, which other tests run as they are."""

    def __init__(self, error=None):
        self.calls, self.error = [], error

    def put(self, *arguments):
        self.calls.append(arguments)
        if self.error:
            raise self.error


@pytest.fixture(scope="module")
def pipeline():
    return FusionPipeline()


def test_an_error_of_the_analysis_is_counted_there_and_the_rest_is_analysed(pipeline):
    offset = Recorder(RuntimeError("odd motion"))
    analysis = DeferredAnalysis(FallbackPolicy(0), QualityMonitor(), offset, Recorder())
    assert analysis.status().level == OK
    frame = Frame(1, np.zeros((32, 40), np.uint16), "mono16")
    for number in range(3):
        analysis.add(ArrivedFrame("thermal", frame, number, Config()))
    analysis.add(FusedFrame(1, np.zeros((32, 40, 3), np.uint8), "rgb8"))
    analysis.run(pipeline, None)
    status = analysis.status()
    assert len(offset.calls) == 3
    assert (status.level, status.values["errors"]) == (WARN, "3")
    assert "RuntimeError: odd motion" in status.message
    assert "fusion goes on" in status.message


def test_only_the_newest_entries_wait(pipeline):
    offset = Recorder()
    analysis = DeferredAnalysis(FallbackPolicy(0), QualityMonitor(), offset, Recorder())
    for number in range(100):
        analysis.add(ArrivedFrame("rgb", Frame(number, np.zeros((32, 40, 3), np.uint8), "rgb8"), number, Config()))
    analysis.run(pipeline, None)
    assert [frame.stamp_ns for _, frame, _ in offset.calls] == list(range(85, 100))
