"""How good is an explanation."""
