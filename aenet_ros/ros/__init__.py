"""The ROS 2 side: parameters, the worker thread, diagnostics, the fusing node and the nodes of the demo."""

from aenet_ros.core.process import keep_large_buffers, limit_omp_spin

# Here, before any node's module imports numpy and torch: both start threads, and torch reads the spin count once.
keep_large_buffers()
limit_omp_spin()
