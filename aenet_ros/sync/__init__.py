"""Pairs frames in time and estimates the clock offset of two cameras."""
