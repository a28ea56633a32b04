"""Hosts that pictures can be fetched from: a TLS server that stands for all of them, and their names."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

PUBLIC = "93.184.215.14"
HOST = "images.example.org"
Reply = Callable[[Any, bytes], None]
"""Writes to a TLS connection what a server answers; gets the request."""


def answer(content: bytes = b"", status: str = "200 OK", **headers: str) -> Reply:
    lines = [f"HTTP/1.1 {status}", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    if "Content_Length" not in headers and "Transfer_Encoding" not in headers:
        lines.append(f"Content-Length: {len(content)}")
    head = ("\r\n".join(lines) + "\r\n\r\n").encode()
    return lambda connection, _: connection.sendall(head + content)


def to(location: str) -> Reply:
    return answer(status="302 Found", Location=location)


def make_certificate(folder: Path) -> Path:
    """Key and certificate, its own authority, of the hosts that are served here."""
    names = f"subjectAltName=DNS:{HOST},DNS:*.example.net"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=test", "-addext", names]
    command += ["-addext", "keyUsage=critical,digitalSignature,keyCertSign"]
    command += ["-keyout", str(folder / "key"), "-out", str(folder / "certificate")]
    subprocess.run(command, check=True, capture_output=True)
    both = folder / "both"
    both.write_bytes((folder / "key").read_bytes() + (folder / "certificate").read_bytes())
    return both


class World:
    """A TLS server that stands for all hosts, the names that lead to it, and what was asked of both."""

    def __init__(self, certificate: Path) -> None:
        self.replies: dict[str, Reply] = {}
        self.names: dict[str, list[list[str]]] = {HOST: [[PUBLIC]]}
        """The answers to each look-up of a name; the last holds for all that follow."""
        self.resolved: list[str] = []
        self.dialled: list[tuple[str, int]] = []
        self.requests: list[bytes] = []
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate)
        self.client = ssl.create_default_context(cafile=str(certificate))
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=64)
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listening.close()

    def resolve(self, host: str, port: int) -> list[str]:
        self.resolved.append(host)
        found = self.names.get(host)
        if found is None:
            raise socket.gaierror("not known")
        return found.pop(0) if len(found) > 1 else found[0]

    def connect(self, ip: str, port: int, seconds: float) -> socket.socket:
        self.dialled.append((ip, port))
        return socket.create_connection(self._listening.getsockname(), timeout=seconds)

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=self._one, args=(self._listening.accept()[0],), daemon=True).start()

    def _one(self, plain: socket.socket) -> None:
        with suppress(OSError), self._context.wrap_socket(plain, server_side=True) as connection:
            request = b""
            while not request.endswith(b"\r\n\r\n"):
                request += connection.recv(4096)
            self.requests.append(request)
            self.replies[request.split(b" ")[1].decode()](connection, request)
