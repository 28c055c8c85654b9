"""Where the ROS distributions from Humble to Lyrical differ."""

from typing import Any

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks

try:
    from rclpy.clock_type import ClockType
except ImportError:  # Humble
    from rclpy.clock import ClockType  # type: ignore[attr-defined, no-redef, unused-ignore]

__all__ = ["ClockType", "no_event_callbacks"]


def no_event_callbacks() -> Any:
    """A subscription without event handlers: destroying one that has them crashes newer executors (ros2/rclpy#1644)."""
    return SubscriptionEventCallbacks(use_default_callbacks=False)
