"""Model folders by hub name: the local cache first, the network only when it answers, else one sentence."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from compressor.errors import MissingResourceError

_LOGGER = logging.getLogger(__name__)
_TIMEOUT = 3.0
"""Seconds the hub has to answer before this machine counts as offline."""

MODEL_FILES = ("*.json", "*.safetensors", "*.txt", "*.model")
"""What a model folder may bring: no pickle, no Python."""


def hub_offline() -> bool:
    """True when the user has switched the network off (HF_HUB_OFFLINE)."""
    from huggingface_hub import is_offline_mode

    return bool(is_offline_mode())


def hub_answers() -> bool:
    """True when the model hub answers within three seconds; never raises, never hangs."""
    if hub_offline():
        return False
    from huggingface_hub import constants, get_session

    try:
        response = get_session().head(constants.ENDPOINT, timeout=_TIMEOUT, follow_redirects=True)
    except Exception as error:  # every transport has its own family of errors; all mean the same here
        _LOGGER.debug("the hub does not answer: %s", error)
        return False
    return bool(response.status_code < 400)


def cache_folder() -> Path:
    """Where the hub's files are kept on this machine."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def cached_file(repository: str, name: str) -> Path | None:
    """A file of a repository in the local cache, or None. Touches no network.

    Raises `MissingResourceError` for what cannot be the name of a repository.
    """
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(repository, name)
    except HFValidationError as error:
        raise MissingResourceError(f"'{repository}' is no name of a model on the hub: {error}") from error
    return Path(found) if isinstance(found, str) and Path(found).is_file() else None


def missing_on_hub(repository: str, required: Sequence[str]) -> str | None:
    """One sentence when a repository is neither in the cache nor within reach; None when it can be used.

    `required` are file names; a name with `|` lists alternatives of which one is enough.
    """
    absent = [name for name in required if not any(cached_file(repository, part) for part in name.split("|"))]
    if not absent or hub_answers():
        return None
    state = "switched off by HF_HUB_OFFLINE" if hub_offline() else "not reachable from here"
    return (
        f"'{repository}' is not on this machine ({_listed(absent)} looked for in {cache_folder()}) and "
        f"the hub is {state}: run `hf download {repository}` on a machine with internet and copy its cache, "
        "or give a local folder."
    )


def fetch_repository(repository: str, required: Sequence[str]) -> Path:
    """The local folder of a hub repository, downloaded if needed.

    Raises `MissingResourceError` where it is neither cached nor within reach.
    """
    from huggingface_hub import snapshot_download

    missing = missing_on_hub(repository, required)
    if missing:
        raise MissingResourceError(missing)
    cached = all(any(cached_file(repository, part) for part in name.split("|")) for name in required)
    try:
        return Path(snapshot_download(repository, allow_patterns=list(MODEL_FILES), local_files_only=cached))
    except Exception as error:  # a wrong name, a gated repository, a broken connection: all end the same way
        raise MissingResourceError(f"'{repository}' cannot be fetched: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(name.replace("|", " or ") for name in names)
