"""Thermal counts: gain control, FFC, bad pixels, fixed-pattern noise, temperature."""
