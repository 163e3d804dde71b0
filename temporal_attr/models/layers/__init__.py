"""Timesteps from any layer of a network, named by its path."""

from temporal_attr.models.layers._copies import Network
from temporal_attr.models.layers._framewise import FramewiseLayerTimesteps
from temporal_attr.models.layers._search import Layer
from temporal_attr.models.layers._table import LayerTable, chosen_layers, layer_table
from temporal_attr.models.layers._timesteps import LayerTimesteps

__all__ = [
    "FramewiseLayerTimesteps",
    "Layer",
    "LayerTable",
    "LayerTimesteps",
    "Network",
    "chosen_layers",
    "layer_table",
]
