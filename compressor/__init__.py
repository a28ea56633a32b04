"""Distil large CLIP and BLIP models into small ones that are measured, exported and served."""

__version__ = "0.1.0"
