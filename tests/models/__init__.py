"""Wrappers of models."""
