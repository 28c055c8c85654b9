"""Differences of the rclpy versions from Humble to Lyrical."""

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
    """Event callbacks of a subscription without any: destroying handlers crashes newer executors (ros2/rclpy#1644)."""
    return SubscriptionEventCallbacks(use_default_callbacks=False)
