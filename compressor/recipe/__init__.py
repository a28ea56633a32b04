"""What a recipe can say. Imports nothing heavy."""

from compressor.recipe.recipe import Recipe

__all__ = ["Recipe"]
