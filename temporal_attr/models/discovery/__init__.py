"""What a network of no known library takes, and where its timesteps are, found by trying."""
