"""Frozen models that teach, and embeddings of models that are not here. Import the modules you need."""
