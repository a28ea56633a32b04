"""Teacher signals (stored, live, precomputed) and the training loop."""
