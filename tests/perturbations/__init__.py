"""Masks, baselines, and what masked clips look like."""
