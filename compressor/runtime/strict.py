"""The base of everything that bundle.json holds."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """A section that knows all of its keys."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=(), allow_inf_nan=False)
