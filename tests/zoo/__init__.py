"""The reference architectures and their checkpoints."""
