"""The video topics of the running node, decoded by FFmpeg. Where their packages are not installed: test_ros_node.py."""

import numpy as np
import pytest
from ros_harness import OK, RELIABLE, SIZE, WARN, Robot, dim_street, make_image, stamp_of

CompressedVideo = pytest.importorskip("foxglove_msgs.msg", reason="foxglove_msgs is not installed (apt)").CompressedVideo
FFMPEGPacket = pytest.importorskip("ffmpeg_image_transport_msgs.msg", reason="ffmpeg_image_transport_msgs is not installed").FFMPEGPacket
av = pytest.importorskip("av", minversion="17", reason="video topics need PyAV (pip install 'av>=17')")


@pytest.fixture
def robot(tmp_path):
    robot = Robot(tmp_path, {"diagnostics.period_s": 0.2, "degraded.after_s": 30.0, "diagnostics.max_latency_ms": 0.0})
    robot.start_node()
    yield robot
    robot.close()


def test_video_follows_the_pictures(robot):
    """One node for all: lazy, both topics, a keyframe for a late viewer, another size."""
    robot.publish_until_fused()
    assert robot.wait_status("video", OK, "idle: no subscriber")
    assert robot.value("video", "encoder") == "-", "no subscriber, no encoder"
    assert "encoded by" not in robot.log()

    videos, packets = [], []
    robot.node.create_subscription(CompressedVideo, "/fused/video", videos.append, RELIABLE)
    robot.wait(lambda: robot.publish() and len(videos) >= 8, "video")
    decoder = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    pictures = {stamp_of(message): np.frombuffer(message.data, np.uint8).reshape(*SIZE, 3) for message in list(robot.fused)}
    shown = 0
    for message in list(videos):
        assert (message.format, message.frame_id) == ("h264", "rgb_optical")
        stamp_ns = message.timestamp.sec * 10**9 + message.timestamp.nanosec
        for frame in decoder.decode(av.Packet(bytes(message.data))):
            if stamp_ns in pictures:
                shown += 1
                assert np.abs(frame.to_ndarray(format="rgb24").astype(int) - pictures[stamp_ns]).mean() < 6
    assert shown >= 5
    assert "encoded by" in robot.log()

    robot.node.create_subscription(FFMPEGPacket, "/fused/image/ffmpeg", packets.append, RELIABLE)
    robot.wait(lambda: robot.publish() and any(packet.flags for packet in packets), "a keyframe for the late viewer", 5.0)
    first = next(packet for packet in packets if packet.flags)
    assert (first.width, first.height, first.encoding) == (SIZE[1], SIZE[0], robot.value("video", "encoder"))
    assert len({packet.pts for packet in packets}) == len(packets)

    odd = make_image(dim_street((99, 141)), "rgb8", 0, "rgb_optical")
    robot.wait(lambda: robot.publish(rgb=odd) and (packets[-1].width, packets[-1].height) == (142, 100), "the other size")
    begin = next(packet for packet in packets if packet.width == 142)
    assert begin.flags == 1
    assert robot.wait_status("video", OK, "kbit/s").level != WARN
    assert robot.stop_node()[0] == 0
