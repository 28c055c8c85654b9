"""Image fusion metrics and rankings."""
