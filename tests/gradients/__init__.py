"""Gradients of scalar outputs, and the record of a run."""
