"""The ROS 2 side: parameters, the worker thread, diagnostics, the fusing node and the nodes of the demo."""

from aenet_ros.core.allocator import keep_large_buffers
from aenet_ros.core.openmp import spin_briefly

# Here, because every node's module imports numpy and torch: they start threads, which take arenas, and torch reads how to spin.
keep_large_buffers()
spin_briefly()
