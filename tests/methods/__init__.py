"""Each method by itself."""
