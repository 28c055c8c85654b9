"""The ROS 2 side: parameters, the worker thread, diagnostics, the fusing node and the nodes of the demo."""

from aenet_ros.openmp import spin_briefly

spin_briefly()  # here, because every node's module imports torch, which reads it only then
