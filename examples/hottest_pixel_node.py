"""A ROS 2 node that uses fused/thermal_registered: it logs the hottest pixel of each picture, in pixels of fused/image.

`python examples/hottest_pixel_node.py --ros-args -r __ns:=/robot1 -p profile:=lepton`
"""

import sys
from contextlib import suppress

import numpy as np
import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image

from aenet_ros import Frame, temperature

DTYPES = {"mono16": np.uint16, "16UC1": np.uint16, "32FC1": np.float32}


class HottestPixel(Node):
    """Subscribes to the thermal counts on the pixel grid of the fused picture; the fusion node publishes them only then."""

    def __init__(self, **options: object) -> None:
        super().__init__("hottest_pixel", **options)
        self.profile = self.declare_parameter("profile", "centikelvin").value
        self.hottest: tuple[int, int, float] | None = None  # x, y, degrees Celsius
        self.create_subscription(Image, "fused/thermal_registered", self.on_image, qos_profile_sensor_data)

    def on_image(self, message: Image) -> None:
        """Find the hottest pixel; pixels that the thermal camera does not see are NaN."""
        if message.encoding not in DTYPES:
            self.get_logger().error(f"{message.encoding} has no degrees: the thermal camera must send 16 bit or 32FC1", once=True)
            return
        dtype = np.dtype(DTYPES[message.encoding]).newbyteorder(">" if message.is_bigendian else "<")
        rows = np.frombuffer(message.data, dtype).reshape(message.height, message.step // dtype.itemsize)
        counts = rows[:, : message.width].astype(DTYPES[message.encoding])
        degrees = temperature(Frame(0, counts, "32FC1" if counts.dtype == np.float32 else "mono16"), self.profile)
        if np.isnan(degrees).all():
            return
        y, x = np.unravel_index(np.nanargmax(degrees), degrees.shape)
        self.hottest = (int(x), int(y), float(degrees[y, x]))
        self.get_logger().info(f"hottest pixel: x {x}, y {y}, {degrees[y, x]:.1f} degC")


if __name__ == "__main__":
    rclpy.init(args=sys.argv)
    with suppress(KeyboardInterrupt, ExternalShutdownException):  # Ctrl-C, or the end of a launch
        rclpy.spin(HottestPixel())
