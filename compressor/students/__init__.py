"""Compact models: towers, the dual encoder, their checkpoints. Import from the modules: torch is heavy."""
