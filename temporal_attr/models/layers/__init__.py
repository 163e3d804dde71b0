"""Timesteps from any layer of a network, named by its path."""

from temporal_attr.models.layers._table import Layer, LayerTable, layers
from temporal_attr.models.layers._timesteps import LayerTimesteps

__all__ = ["Layer", "LayerTable", "LayerTimesteps", "layers"]
