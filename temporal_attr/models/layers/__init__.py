"""Timesteps from any layer of a network, named by its path."""

from temporal_attr.models.layers._framewise import FramewiseLayerTimesteps
from temporal_attr.models.layers._search import Layer
from temporal_attr.models.layers._table import LayerTable, chosen_layers, layers
from temporal_attr.models.layers._timesteps import LayerTimesteps

__all__ = [
    "FramewiseLayerTimesteps",
    "Layer",
    "LayerTable",
    "LayerTimesteps",
    "chosen_layers",
    "layers",
]
