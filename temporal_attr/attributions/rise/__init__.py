"""Random masks of space and time, and what the prediction has to do with them."""

from temporal_attr.attributions.rise._method import RISE
from temporal_attr.attributions.rise._result import RISEResult

__all__ = ["RISE", "RISEResult"]
