"""Open a bundle and run it: all that serving and an edge device need. Torch-free.

>>> from compressor.runtime import Bundle
>>> bundle = Bundle.open("runs/quickstart/bundle")
>>> images = bundle.encode_images([open("dog.jpg", "rb").read()])  # float32 (1, D), unit rows
>>> texts = bundle.encode_texts(["a dog", "a cat"])  # float32 (2, D)
>>> cosines = images @ texts.T
"""

from compressor.runtime.bundle import Bundle

__all__ = ["Bundle"]
