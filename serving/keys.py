"""Bearer keys: several at a time, from the environment or a file that may change while the service runs."""

from __future__ import annotations

import hmac
from hashlib import sha256
from pathlib import Path

from compressor.errors import DataError
from serving.errors import ApiError

LEAST = 16
"""Characters of a key: shorter ones can be tried out."""


class Keys:
    """The keys that open the service; none given means that it is open to all who can reach it."""

    def __init__(self, given: tuple[str, ...] = (), file: str | None = None) -> None:
        """`file`: one key a line, `#` begins a comment; read again when it changes, so that keys can be
        exchanged without a restart. Raises `DataError` for a key that is too short and a file that cannot be
        read or holds none."""
        self._given = _hashed(given, "COMPRESSOR_KEYS")
        self._file = None if file is None else Path(file)
        self._read: frozenset[bytes] = frozenset()
        self._state: tuple[int, int] | None = None
        if self._file is not None:
            self._refresh(self._file)

    @property
    def wanted(self) -> bool:
        """True where requests need a key."""
        return bool(self._given) or self._file is not None

    def check(self, authorization: str, always: bool = False) -> None:
        """Raise `ApiError` 401 without a key and 403 for a wrong one; `always`: also where none is set."""
        if not self.wanted:
            if always:
                raise ApiError(
                    403, "wrong_key", "this needs a key, and the service has none; set COMPRESSOR_KEYS"
                )
            return
        kind, _, key = authorization.partition(" ")
        if kind.lower() != "bearer" or not key:
            raise ApiError(
                401,
                "no_key",
                "send a key as `Authorization: Bearer KEY`",
                "Authorization",
                {"WWW-Authenticate": "Bearer"},
            )
        if self._file is not None:
            self._refresh(self._file)
        offered = sha256(key.encode("utf-8", "surrogateescape")).digest()
        # All are compared, each in constant time: how long it takes tells nothing of any of them.
        matches = [hmac.compare_digest(offered, known) for known in (*self._given, *self._read)]
        if not any(matches):
            raise ApiError(403, "wrong_key", "the key is not known here", "Authorization")

    def _refresh(self, file: Path) -> None:
        try:
            found = file.stat()
            state = (found.st_mtime_ns, found.st_size)
            if state == self._state:
                return
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            if self._state is None:
                raise DataError(f"{file}: the keys cannot be read: {error}") from error
            return  # while it is being exchanged the old ones hold
        keys = tuple(key for line in lines if (key := line.partition("#")[0].strip()))
        if not keys and self._state is None:
            raise DataError(f"{file}: there is no key in this file")
        self._read, self._state = _hashed(keys, str(file)), state


def _hashed(keys: tuple[str, ...], where: str) -> frozenset[bytes]:
    """Hashes of keys: of one length, which comparing in constant time asks for."""
    if any(len(key) < LEAST for key in keys):
        raise DataError(f"{where}: a key has at least {LEAST} characters")
    return frozenset(sha256(key.encode()).digest() for key in keys)
