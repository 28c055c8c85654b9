"""A simulated thermal and rgb rig."""
