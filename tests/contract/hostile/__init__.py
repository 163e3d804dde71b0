"""Bad inputs over the whole public API, generated, as a user without shape checks meets them.

`python -m tests.contract.hostile` runs them outside of the test suite, whose import hook would
turn raw errors into its own, and prints what came of each as JSON.
"""
