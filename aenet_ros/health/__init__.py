"""State of the streams, picture quality, counters and status texts; no ROS import."""
