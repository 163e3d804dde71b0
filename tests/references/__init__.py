"""Slow references: plain loops in float64, written from the definitions."""
