"""A way to a server on which answers get lost: the server has done what was asked, and nobody hears of it."""

import contextlib
import socket
import threading
from collections.abc import Callable


class Proxy:
    """Passes every connection on to a port of this machine, until it is closed.

    Args:
        port: of the server.
        lost: whether the answer to a request is lost, by the request's first line.
    """

    def __init__(self, port: int, lost: Callable[[str], bool]) -> None:
        self._port, self._lost = port, lost
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self.losses = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        self._listening.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        """One request a connection: whoever comes again opens another."""
        with contextlib.suppress(OSError), client, socket.create_connection(("127.0.0.1", self._port)) as server:
            request = _whole(client)
            head, _, body = request.partition(b"\r\n\r\n")
            lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"connection:")]
            server.sendall(b"\r\n".join([*lines, b"Connection: close"]) + b"\r\n\r\n" + body)
            answer = b""
            while piece := server.recv(1 << 16):
                answer += piece
            if self._lost(lines[0].decode()):
                self.losses += 1
                return
            client.sendall(answer)


def _whole(connection: socket.socket) -> bytes:
    """A request with its body, whose length it says."""
    found = b""
    while b"\r\n\r\n" not in found:
        piece = connection.recv(1 << 16)
        if not piece:
            raise OSError("the connection ended")
        found += piece
    head, _, body = found.partition(b"\r\n\r\n")
    fields = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:])
    length = int(fields.get(b"content-length", b"0"))
    while len(body) < length:
        body += connection.recv(1 << 16)
    return head + b"\r\n\r\n" + body
