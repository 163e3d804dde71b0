"""Planted videos."""
