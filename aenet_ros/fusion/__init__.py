"""The fusion network and what runs it; knows torch, not ROS."""
