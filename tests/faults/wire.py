"""The network between client and service: a relay that cuts connections after the commit and before the reply."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
from typing import Self


class Wire:
    """A relay on a port of its own. It cuts a share of the replies somewhere between their first byte and their last.

    The service replies after its commit, so whatever is cut here has been committed and the client does not know it.
    """

    def __init__(self, port: int, rng: random.Random, share: float) -> None:
        """Relay to `port`; cut `share` of the replies to come once `cutting` is set."""
        self._port, self._rng, self._share = port, rng, share
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.cuts = 0
        """Replies cut so far."""
        self.cutting = threading.Event()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # nobody waits for the next one any more
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                service = socket.create_connection(("127.0.0.1", self._port))
            except OSError:
                _end(client, abruptly=True)
                continue
            threading.Thread(target=self._requests, args=(client, service), daemon=True).start()
            threading.Thread(target=self._replies, args=(client, service), daemon=True).start()

    def _requests(self, client: socket.socket, service: socket.socket) -> None:
        """Relay until the client has gone; then the service ends the other direction too."""
        with contextlib.suppress(OSError):
            while data := client.recv(1 << 16):
                service.sendall(data)
        with contextlib.suppress(OSError):
            service.shutdown(socket.SHUT_WR)

    def _replies(self, client: socket.socket, service: socket.socket) -> None:
        """Relay until the service ends the connection or a reply is cut, then end both sides."""
        cut = False
        with contextlib.suppress(OSError):
            while not cut and (data := service.recv(1 << 16)):
                kept = self._kept(len(data))
                cut = kept < len(data)
                client.sendall(data[:kept])
        _end(client, abruptly=cut)
        _end(service, abruptly=cut)

    def _kept(self, size: int) -> int:
        """How many bytes of a reply of `size` arrive."""
        with self._lock:
            if not self.cutting.is_set() or self._rng.random() >= self._share:
                return size
            self.cuts += 1
            # As often as not nothing at all arrives.
            return self._rng.choice((0, self._rng.randrange(size)))


def _end(connection: socket.socket, *, abruptly: bool) -> None:
    """Close a connection; abruptly as a router does that is switched off and on. Whoever reads from it lets go."""
    with contextlib.suppress(OSError):
        if abruptly:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.shutdown(socket.SHUT_RD)
        else:
            connection.shutdown(socket.SHUT_RDWR)
    connection.close()
