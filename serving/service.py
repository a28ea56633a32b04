"""The BentoML service: `bentoml serve serving.service:Service`, told by `COMPRESSOR_...` what to serve.

BentoML starts and supervises the workers, keeps metrics and traces, builds and ships. Requests are answered
by `serving.app`, which stands before BentoML's own paths: its batching has no bound, its inputs no limits,
and its pages load scripts of third parties.
"""

from __future__ import annotations

import os
from typing import Any, cast

os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")

import bentoml
from bentoml._internal.configuration.containers import BentoMLContainer

from serving.app import App
from serving.metrics import Metrics
from serving.models import Models
from serving.settings import from_environment, named_folders

_PASSED_ON = ("/metrics",)


class Front:
    """Middleware that answers everything but BentoML's metrics; the models open with the worker."""

    app: App | None = None

    def __init__(self, app: Any) -> None:
        self._inner = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan" and not _traced():
            # BentoML's own middleware stands outside of this one and takes longer than embedding a text does;
            # its limit of time keeps a timer of every request long after the answer. Requests go around it.
            application = scope["app"]
            application.middleware_stack = Front(application.middleware_stack)
        if scope["type"] != "http" or scope["path"] in _PASSED_ON or Front.app is None:
            await self._inner(scope, receive, send)
            return
        await Front.app(scope, receive, send)


def _traced() -> bool:
    """True where BentoML is configured to collect traces, which its middleware does."""
    return bool(BentoMLContainer.tracing.sample_rate.get())


@bentoml.service(
    name="compressor",
    workers=int(os.environ.get("COMPRESSOR_WORKERS", "1")),
    # Deadlines and the bounded queue are the application's own; BentoML's come later than any of them.
    traffic={"timeout": 600, "max_concurrency": 10_000},
)
class Service:
    """Opens the bundles that the environment names."""

    def __init__(self) -> None:
        settings = from_environment()
        self.models = Models(named_folders(settings), settings, Metrics())
        Front.app = App(self.models, settings)

    def __is_ready__(self) -> bool:
        return Front.app is not None

    @bentoml.on_shutdown
    def close(self) -> None:
        """Answer what waits, take no more."""
        self.models.close()


cast(Any, Service).add_asgi_middleware(Front)
