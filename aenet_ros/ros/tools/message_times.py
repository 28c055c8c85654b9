"""What a node does with a pair beside fusing it, stage by stage in one process: run by `aenet bench`, tells one line of json.

``receive``: bytes to messages, both frames; ``decode``: messages to frames; ``encode``: a picture into a message; ``publish``: message to
bytes. The way between the processes is not in it. Arguments: width and height of the rgb frame, and how often.
"""

import json
import sys
from itertools import islice

from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import Image

from aenet_ros.messages.codec import decode_rgb, decode_thermal, fill_image
from aenet_ros.workbench.simulation.rig import Rig
from aenet_ros.workbench.simulation.rig_config import RigConfig
from aenet_ros.workbench.timing import spread_ms, time_runs


def message_times(width: int, height: int, runs: int) -> dict[str, dict[str, float]]:
    """Medians and quartiles, in ms, of the stages for a mono16 thermal frame of 640x512 and an rgb8 one."""
    frames = {event.stream: event.frame for event in islice(Rig(RigConfig(rgb_width=width, rgb_height=height)).events(), 2)}
    thermal, rgb, out = Image(), Image(), Image()
    fill_image(thermal, frames["thermal"].data, "mono16")
    fill_image(rgb, frames["rgb"].data, "rgb8")
    raw = [serialize_message(message) for message in (thermal, rgb)]
    work = {
        "receive": lambda: [deserialize_message(data, Image) for data in raw],
        "decode": lambda: (decode_thermal(thermal), decode_rgb(rgb)),
        "encode": lambda: fill_image(out, frames["rgb"].data, "rgb8"),
        "publish": lambda: serialize_message(out),
    }
    return {name: spread_ms(time_runs(run, runs)) for name, run in work.items()}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(message_times(*(int(word) for word in sys.argv[1:4]))) + "\n")
