"""Images and texts to arrays. Torch-free: it runs on the device as it runs in training."""

from compressor.preprocess.preprocessor import Preprocessor
from compressor.preprocess.spec import ImageSpec, TextSpec
from compressor.preprocess.text import Tokenizer

__all__ = ["ImageSpec", "Preprocessor", "TextSpec", "Tokenizer"]
