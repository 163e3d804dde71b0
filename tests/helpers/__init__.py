"""Shared by the tests: models, methods, checks."""
