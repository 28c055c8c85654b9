"""Measured figures as one HTML page that can be mailed: styles, plots and pictures are inside, nothing is fetched."""
