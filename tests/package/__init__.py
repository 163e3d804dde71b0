"""The package as a whole: its README, its rooms."""
