"""Run the ingestion service: `python -m metering.ingestion [--host 127.0.0.1] [--port 8090]`."""

from __future__ import annotations

import argparse
import gc
import socket
import sys

import uvicorn

from metering import settings as settings_module
from metering.errors import BillingError
from metering.ingestion import logs
from metering.ingestion.app import create_app
from metering.ingestion.collectors import metrics_for
from metering.ingestion.protocol import BoundedHttp
from metering.processes.ports import who_listens


def main() -> int:
    """Serve until told to stop; what has been taken is committed first."""
    settings = settings_module.load()
    parser = argparse.ArgumentParser(
        prog="python -m metering.ingestion",
        description="The ingestion service: takes usage events over HTTP.",
        epilog="example: python -m metering.ingestion --port 8090",
    )
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=None, help="the port (default: BILLING_INGESTION_PORT)")
    arguments = parser.parse_args()
    try:
        listener = _listen(arguments.host, settings.ingestion_port if arguments.port is None else arguments.port)
        application = create_app(settings.database_url, metrics=metrics_for(settings))
    except BillingError as error:
        print(error, file=sys.stderr)
        return 1
    logs.set_up()
    # Landing has a thread beside the event loop; it must not wait long for its turn.
    sys.setswitchinterval(0.0005)
    # Events hold no cycles; looking for some after every few hundred would take a third of the time.
    gc.freeze()
    gc.set_threshold(100_000, 50, 50)
    configuration = uvicorn.Config(
        application,
        loop="uvloop",
        http=BoundedHttp,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=20,
    )
    uvicorn.Server(configuration).run(sockets=[listener])
    return 0


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        holder = who_listens("127.0.0.1", port)
        reason = f"is in use by {holder}" if holder else f"can't be used: {error.strerror}"
        raise BillingError(
            f"Port {port} on {host}, meant for the ingestion service, {reason}.",
            "Set BILLING_INGESTION_PORT to a free port, or stop the other program.",
        ) from error
    listener.listen(2048)
    return listener


if __name__ == "__main__":
    sys.exit(main())
