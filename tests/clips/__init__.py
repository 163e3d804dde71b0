"""Video in."""
