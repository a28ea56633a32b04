"""A service over HTTP, from a program. Torch-free; needs `pip install 'compressor[client]'`.

>>> from compressor.client import Client
>>> with Client("http://127.0.0.1:3000") as client:
...     texts = client.embed_texts(["a red star in the snow"])
...     found = client.search(text="a red star in the snow", k=5)

`AsyncClient` has the same methods to await. Everything that goes wrong is a `ClientError`.
"""

from compressor.client.async_client import AsyncClient
from compressor.client.client import Client
from compressor.client.errors import BadAnswerError, ClientError, ConnectionFailedError, ServiceError
from compressor.client.results import (
    Added,
    AddedItem,
    Answered,
    Caption,
    Classified,
    Failure,
    Found,
    Hit,
    Item,
    NewItem,
    Page,
    Ranked,
    Ranking,
    ServedModel,
)
from compressor.client.retries import Retries

__all__ = [
    "Added",
    "AddedItem",
    "Answered",
    "AsyncClient",
    "BadAnswerError",
    "Caption",
    "Classified",
    "Client",
    "ClientError",
    "ConnectionFailedError",
    "Failure",
    "Found",
    "Hit",
    "Item",
    "NewItem",
    "Page",
    "Ranked",
    "Ranking",
    "Retries",
    "ServedModel",
    "ServiceError",
]
