"""Timesteps from any layer of a network, named by its path."""

from temporal_attr.models.layers._timesteps import LayerTimesteps

__all__ = ["LayerTimesteps"]
