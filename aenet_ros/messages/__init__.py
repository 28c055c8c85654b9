"""sensor_msgs to arrays and back, duck-typed; no ROS import."""
