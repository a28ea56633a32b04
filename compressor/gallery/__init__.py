"""The searchable set of pictures and their vectors. Torch-free; needs `pip install 'compressor[gallery]'`.

>>> from compressor.gallery import Gallery, NewItem, embed
>>> from compressor.runtime import Bundle
>>> bundle = Bundle.open("runs/quickstart/bundle")
>>> gallery = Gallery.open("runs/quickstart/gallery", bundle, create=True)
>>> items = [NewItem("dog", open("dog.jpg", "rb").read(), {"year": 2024})]
>>> gallery.add(items, embed(bundle, items))
>>> (hits,) = gallery.search(bundle.encode_texts(["a dog"]), k=10, where={"year": {"gte": 2020}})
"""

from compressor.gallery.gallery import Gallery
from compressor.gallery.identity import Identity, embedding_fingerprint
from compressor.gallery.items import Added, Hit, Item, ItemError, NewItem, Page
from compressor.gallery.pictures import embed

__all__ = [
    "Added",
    "Gallery",
    "Hit",
    "Identity",
    "Item",
    "ItemError",
    "NewItem",
    "Page",
    "embed",
    "embedding_fingerprint",
]
