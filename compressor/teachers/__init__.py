"""Frozen models that teach, and embeddings of models that are not here. Import from the modules: torch is heavy."""
