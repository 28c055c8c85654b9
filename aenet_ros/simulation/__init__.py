"""A synthetic thermal and RGB rig with known truth."""
