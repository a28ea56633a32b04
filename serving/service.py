"""The BentoML service: `bentoml serve serving.service:Service`, told by `COMPRESSOR_...` what to serve.

BentoML starts and supervises the workers, builds and ships. Requests are answered
by `serving.app`, which stands before BentoML's own paths: its batching has no bound, its inputs no limits,
and its pages load scripts of third parties.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")

import bentoml

if TYPE_CHECKING:
    from serving.app import App

_BROUGHT = Path(__file__).parents[1] / "bundle"
"""The bundle that a Bento brings (bentofile.yaml); the environment can name others."""


class Front:
    """Middleware that answers everything, also the metrics; the models open with the worker."""

    app: App | None = None

    def __init__(self, app: Any) -> None:
        self._inner = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            # BentoML's own middleware stands outside of this one and takes longer than embedding a text does;
            # its limit of time keeps a timer of every request long after the answer. Requests go around it.
            application = scope["app"]
            application.middleware_stack = Front(application.middleware_stack)
        if scope["type"] != "http" or Front.app is None:
            await self._inner(scope, receive, send)
        elif scope["path"] == "/metrics":
            from serving.metrics import shown

            await shown()(scope, receive, send)
        else:
            await Front.app(scope, receive, send)


@bentoml.service(
    name="compressor",
    workers=int(os.environ.get("COMPRESSOR_WORKERS", "1")),
    # Deadlines and the bounded queue are the application's own; BentoML's come later than any of them.
    traffic={"timeout": 600, "max_concurrency": 10_000},
    # The application has lines, spans and metrics of its own: in BentoML's are ids of items and queries.
    logging={"access": {"enabled": False}},
    metrics={"enabled": False},
    tracing={"excluded_urls": ".*"},
)
class Service:
    """Opens the bundles that the environment names."""

    def __init__(self) -> None:
        # Imported by the workers alone: their supervisor starts sooner without, and stays smaller.
        from serving import logs, tracing
        from serving.app import App
        from serving.heads import bound_heads
        from serving.metrics import Metrics
        from serving.models import Models
        from serving.settings import from_environment, named_folders
        from serving.watching import Watcher, seconds_between

        brought = {"COMPRESSOR_BUNDLES": f"student={_BROUGHT}"} if _BROUGHT.is_dir() else {}
        settings = from_environment({**brought, **os.environ})
        logs.configure(settings.log)
        bound_heads()
        self.models = Models(named_folders(settings), settings, Metrics())
        Front.app = App(self.models, settings, tracing=tracing.from_environment())
        self.watcher = Watcher(self.models, seconds_between(settings))

    def __is_ready__(self) -> bool:
        return Front.app is not None

    @bentoml.on_shutdown
    def close(self) -> None:
        """Answer what waits, take no more."""
        self.watcher.close()
        if Front.app is not None:
            Front.app.galleries.close()
            Front.app.close()
        self.models.close()


cast(Any, Service).add_asgi_middleware(Front)
