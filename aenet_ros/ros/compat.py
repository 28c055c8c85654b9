"""Where the ROS distributions from Humble to Lyrical differ."""

from typing import Any

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks


def no_event_callbacks() -> Any:
    """A subscription without event handlers: destroying one that has them crashes newer executors (ros2/rclpy#1644)."""
    return SubscriptionEventCallbacks(use_default_callbacks=False)
