"""What is masked in a clip, and what stands in its place."""
