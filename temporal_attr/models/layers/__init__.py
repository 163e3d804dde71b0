"""Timesteps from any layer of a network, named by its path."""

from temporal_attr.models.layers._copies import Network
from temporal_attr.models.layers._framewise import FramewiseLayerTimesteps
from temporal_attr.models.layers._last_map import last_maps, require_read
from temporal_attr.models.layers._maps import MapSource, found_maps, together
from temporal_attr.models.layers._search import Layer
from temporal_attr.models.layers._table import LayerTable, chosen_layers, layer_table
from temporal_attr.models.layers._tapped import Tap, TappedRun
from temporal_attr.models.layers._timesteps import LayerTimesteps

__all__ = [
    "FramewiseLayerTimesteps",
    "Layer",
    "LayerTable",
    "LayerTimesteps",
    "MapSource",
    "Network",
    "Tap",
    "TappedRun",
    "chosen_layers",
    "found_maps",
    "last_maps",
    "layer_table",
    "require_read",
    "together",
]
