"""How the SDK's requests travel: urllib3's connection pool, without the layer above it.

A meter event is a small request, and requests' own work on it takes nearly as long as all the rest together. Whatever
goes wrong on the way is an `APIConnectionError`, as with the SDK's own clients, for which the sender takes the outcome
to be unknown. Nothing is retried here, and no redirect is followed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import stripe
import urllib3


class Transport(stripe.HTTPClient):
    """An HTTP client for the SDK, for several threads at once. Timeouts are in seconds."""

    name = "urllib3"

    def __init__(self, url: str, *, connect_timeout: float, read_timeout: float, connections: int) -> None:
        """`url` is the server of all requests. A proxy that the environment names is used, except on loopback."""
        super().__init__()
        options: dict[str, Any] = {
            "maxsize": connections,
            "timeout": urllib3.Timeout(connect=connect_timeout, read=read_timeout),
            "retries": False,
            "cert_reqs": "CERT_REQUIRED",
            "ca_certs": stripe.ca_bundle_path,
        }
        server = urlsplit(url)
        proxy = getproxies().get(server.scheme)
        self._pool: urllib3.PoolManager = (
            urllib3.ProxyManager(proxy, **options)
            if proxy and server.hostname not in ("127.0.0.1", "localhost", "::1") and not proxy_bypass(server.netloc)
            else urllib3.PoolManager(**options)
        )

    def request(  # type: ignore[override]  # the SDK's own clients return bytes too
        self, method: str, url: str, headers: Mapping[str, str] | None, post_data: Any = None, *, _usage: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        """Make one request and read the whole reply: body, status, headers."""
        try:
            reply = self._pool.request(method.upper(), url, headers=headers, body=post_data, redirect=False)
        except Exception as error:
            raise stripe.APIConnectionError(  # type: ignore[no-untyped-call]  # has no types
                f"Unexpected error communicating with Stripe: {type(error).__name__}: {error}", should_retry=False
            ) from error
        return reply.data, reply.status, reply.headers

    def close(self) -> None:
        """Close all connections."""
        self._pool.clear()
