"""Masks of a given area that keep or delete what decides a prediction."""

from temporal_attr.attributions.extremal_perturbation._method import ExtremalPerturbation
from temporal_attr.attributions.extremal_perturbation._result import ExtremalPerturbationResult

__all__ = ["ExtremalPerturbation", "ExtremalPerturbationResult"]
