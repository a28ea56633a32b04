"""`/models`, `/livez` and `/readyz`: what is served, and whether it answers."""

from __future__ import annotations

import asyncio
import time

from starlette.responses import JSONResponse, Response

from compressor.errors import CompressorError
from serving import inputs
from serving.call import Call
from serving.canary import canaries, fault
from serving.errors import ApiError
from serving.models import Model, Models
from serving.openapi import description

_CANARY = 5.0
"""Seconds for a canary."""


async def models(call: Call) -> Response:
    """Every bundle that is served."""
    return JSONResponse({"models": [model.described() for model in call.models]})


async def described(call: Call) -> Response:
    """The service in OpenAPI's words."""
    return JSONResponse(description())


async def reload(call: Call) -> Response:
    """Read a bundle again from its folder; the old one answers until the new one is open."""
    inputs.only(call.body, "model")
    name = call.model().name
    try:
        fresh = await asyncio.wrap_future(call.models.reload(name))
    except CompressorError as error:
        raise ApiError(409, "bundle_refused", f"the bundle was not replaced: {error}", "model") from error
    return JSONResponse({"models": [fresh.described()]})


async def live(call: Call) -> Response:
    """The process answers."""
    return JSONResponse({"status": "ok"})


async def ready(call: Call) -> Response:
    """Every model answers a canary: a finite unit row, or the first token of a text."""
    faults = {model.name: fault for model in call.models if (fault := await _fault(call.models, model))}
    if faults:
        told = "; ".join(f"{name}: {fault}" for name, fault in faults.items())
        raise ApiError(503, "not_ready", told, headers={"Retry-After": "1"})
    return JSONResponse({"status": "ok", "models": [model.name for model in call.models]})


async def _fault(served: Models, model: Model) -> str:
    """What is wrong with a model's canary; nothing where it is well. A full queue is not ill, nor one so long
    that the canary has waited in vain while others were answered."""
    deadline = time.monotonic() + _CANARY
    try:
        for lane, rows in canaries(model.opened).items():
            found = fault(lane, await served.run(model, lane, rows, deadline))
            if found:
                return found
    except ApiError as error:
        busy = error.code == "deadline" and model.engine.silent < served.settings.deadline
        return "" if busy or error.code == "overloaded" else error.message
    except CompressorError as error:
        return str(error)
    return ""
