"""Numbers from attributions and clips."""
