"""Nodes of demo, benchmark and view."""
