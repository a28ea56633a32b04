"""Reading weights from safetensors, loading them strictly, and hashing what a model holds."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from compressor.errors import MissingResourceError, ModelError

_NAMED = 3
"""How many tensors a message names before it only counts them."""


def read_weights(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file, on the CPU.

    Raises `MissingResourceError` where there is no file and `ModelError` where it is not a whole safetensors
    file.
    """
    if not path.is_file():
        raise MissingResourceError(f"no weights at {path}: give the path of a safetensors file")
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"{path} is not a whole safetensors file ({error}): it is damaged, fetch it again"
        ) from error


def save_weights(
    tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors as safetensors; tensors that share memory are stored once each under their own names."""
    from safetensors.torch import save_file

    seen: set[int] = set()
    separate: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        value = tensor.detach().cpu().contiguous()
        separate[name] = value.clone() if value.data_ptr() in seen else value
        seen.add(value.data_ptr())
    save_file(separate, path, metadata=dict(metadata or {}))


def load_weights(
    module: nn.Module,
    tensors: Mapping[str, Tensor],
    source: Path | str,
    target: str,
    *,
    partial: bool = False,
) -> None:
    """Load tensors into a module: each must have a place of its shape; unless `partial`, none may be missing.

    Half-precision values are upcast to the module's own precision. `source` and `target` are named in the
    error. Raises `ModelError` naming the first tensors that do not fit.
    """
    own = module.state_dict()
    unexpected = [name for name in tensors if name not in own]
    missing = [] if partial else [name for name in own if name not in tensors]
    shapes = [
        f"{name} is {tuple(tensor.shape)} and should be {tuple(own[name].shape)}"
        for name, tensor in tensors.items()
        if name in own and tensor.shape != own[name].shape
    ]
    faults = [
        _listed("shapes differ", shapes),
        _listed("missing", missing),
        _listed("not part of the model", unexpected),
    ]
    if any(faults):
        raise ModelError(f"{source} does not fit {target}: {'; '.join(fault for fault in faults if fault)}")
    module.load_state_dict(dict(tensors), strict=not partial)


def _listed(what: str, names: Iterable[str]) -> str:
    names = list(names)
    if not names:
        return ""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{what}: {', '.join(names[:_NAMED])}{more}"


def hash_weights(module: nn.Module) -> str:
    """blake2b-128 over every parameter and persistent buffer, sorted by name: names, types, shapes, bytes."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(module.state_dict().items()):
        value = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(memoryview(value.reshape(-1).view(torch.uint8).numpy()))
    return digest.hexdigest()


def model_fingerprint(module: nn.Module, preprocessing: str) -> str:
    """Identity of a model: its weights together with the fingerprint of its preprocessing."""
    return hashlib.blake2b(f"{hash_weights(module)} {preprocessing}".encode(), digest_size=16).hexdigest()
