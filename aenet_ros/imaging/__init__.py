"""Thermal counts to pictures: gain control, registration, contact sheets; knows numpy and OpenCV only."""
