"""What can go wrong between a program and a service: refusals, no answer, answers not understood."""

from __future__ import annotations

from typing import Literal

from compressor.errors import CompressorError

Kind = Literal["refused", "timeout", "closed", "tls", "protocol"]
_LONGEST = 500


class ClientError(CompressorError):
    """Base of everything that a request can end with.

    `items`: the first and the one after the last of the caller's items that the request was for, where a
    call was split into several requests; those before were answered.
    """

    exit_code = 2
    items: tuple[int, int] | None = None

    def __str__(self) -> str:
        sentence = super().__str__()
        first, end = self.items or (0, 0)
        return f"{sentence} (items {first:,} to {end - 1:,})" if end > 1 else sentence


class ServiceError(ClientError):
    """The service refused: `status` of HTTP, `code` for programs, `message`, and the `param` at fault.

    `retry_after`: seconds after which it would like to be asked again, where it says so.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        param: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        named = f"{param}: {message}" if param else message
        super().__init__(f"the service answered {status} {code}: {one_line(named)}")
        self.status, self.code, self.message, self.param = status, code, message, param
        self.retry_after = retry_after


class ConnectionFailedError(ClientError):
    """No answer.

    `kind`: nobody listens (`refused`: nothing was sent), the time is up (`timeout`), the connection ended
    before the answer did (`closed`), no trust (`tls`), or what came was no HTTP (`protocol`).
    """

    def __init__(self, kind: Kind, sentence: str) -> None:
        super().__init__(one_line(sentence))
        self.kind: Kind = kind


class BadAnswerError(ClientError):
    """The service answered something that this version does not understand; the sentence says what."""


def one_line(text: str) -> str:
    """Text of somebody else's as part of a sentence: in one line, without control characters, shortened."""
    line = "".join(sign if sign.isprintable() else " " for sign in text[: 4 * _LONGEST])
    line = " ".join(line.split())
    return line if len(line) <= _LONGEST else line[: _LONGEST - 3] + "..."
