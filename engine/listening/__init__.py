"""What a clip sounds like, in numbers. NumPy only."""
