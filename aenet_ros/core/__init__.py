"""Frames, errors, camera model, files and process settings."""
