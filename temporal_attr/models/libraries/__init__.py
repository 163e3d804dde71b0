"""Networks of known libraries: how each is recognised, and what its timesteps are."""
