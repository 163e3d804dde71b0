"""What a network of no known library takes, and where its timesteps are, found by trying."""

from temporal_attr.models.discovery._layouts import taken_layouts
from temporal_attr.models.discovery._unknown import layers, wrap_unknown

__all__ = ["layers", "taken_layouts", "wrap_unknown"]
