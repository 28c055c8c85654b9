"""The study of building blocks and tasks."""
