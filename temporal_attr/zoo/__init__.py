"""Reference architectures, small and configurable."""

from temporal_attr.zoo._small import small_recurrent

__all__ = ["small_recurrent"]
