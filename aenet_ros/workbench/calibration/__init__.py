"""Calibration tools."""
