"""Videos that the library draws itself."""

from temporal_attr.synthetic._moving_disc import moving_disc

__all__ = ["moving_disc"]
