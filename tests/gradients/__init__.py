"""Engine 1: gradients, and the record of a run."""
