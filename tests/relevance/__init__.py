"""The rules of relevance."""
