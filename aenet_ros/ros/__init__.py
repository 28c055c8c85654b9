"""The ROS 2 side: parameters, the worker thread, diagnostics, the fusing node and the nodes of the demo."""
