"""The stages of a recipe whose student writes: captions of pictures, or answers to questions about them."""
