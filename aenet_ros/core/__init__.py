"""Frames, errors, the camera model, atomic files, package resources and process settings."""
