"""Frames, errors, camera model, atomic file writes, package resources and process settings."""
