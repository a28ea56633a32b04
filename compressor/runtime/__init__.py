"""Open a bundle and run it: all that serving and an edge device need. Torch-free.

>>> from compressor.runtime import Bundle
>>> bundle = Bundle.open("runs/quickstart/bundle")
>>> images = bundle.encode_images([open("dog.jpg", "rb").read()])  # float32 (1, D), unit rows
>>> texts = bundle.encode_texts(["a dog", "a cat"])  # float32 (2, D)
>>> cosines = images @ texts.T

A bundle of a model that writes is opened as a `Writer`:

>>> from compressor.runtime import Writer
>>> Writer.open("runs/quickstart_captioning/bundle").caption([open("dog.jpg", "rb").read()])
"""

from compressor.runtime.bundle import Bundle
from compressor.runtime.writer import Writer

__all__ = ["Bundle", "Writer"]
