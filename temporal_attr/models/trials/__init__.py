"""What is tried or looked at of a model before a method takes its word."""
