"""Run the ingestion service: `python -m metering.ingestion [--host 127.0.0.1] [--port 8090] [--processes 1]`."""

from __future__ import annotations

import argparse
import ctypes
import gc
import multiprocessing
import os
import signal
import socket
import sys

import uvicorn
from starlette.applications import Starlette
from uvicorn.supervisors import Multiprocess

from metering import settings as settings_module
from metering.errors import BillingError
from metering.ingestion import logs
from metering.ingestion.app import create_app
from metering.ingestion.collectors import metrics_for
from metering.ingestion.protocol import BoundedHttp
from metering.processes.ports import who_listens

_PR_SET_PDEATHSIG = 1
"""Linux: have a signal sent to this process when its parent has gone (prctl(2))."""


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
    parser.add_argument(
        "--processes",
        type=int,
        default=None,
        help="processes that serve it (default: BILLING_INGESTION_PROCESSES, or 1)",
    )
    arguments = parser.parse_args()
    try:
        processes = settings.ingestion_processes if arguments.processes is None else arguments.processes
        if processes < 1:
            raise BillingError(f"{processes} processes can't serve anything.", "Give --processes 1 or more.")
        listener = _listen(arguments.host, settings.ingestion_port if arguments.port is None else arguments.port)
        application = _application() if processes == 1 else None
    except BillingError as error:
        print(error, file=sys.stderr)
        return 1
    logs.set_up()
    configuration = uvicorn.Config(
        application or f"{__package__}.__main__:{_application_of_many.__name__}",
        factory=application is None,
        workers=processes,
        loop="uvloop",
        http=BoundedHttp,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        # Nothing here is decided by where a request seems to come from.
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=20,
    )
    if processes == 1:
        uvicorn.Server(configuration).run(sockets=[listener])
    else:
        Multiprocess(configuration, sockets=[listener]).run()
    return 0


def _application() -> Starlette:
    """What a process serves, and what makes it quick at that."""
    settings = settings_module.load()
    application = create_app(settings.database_url, metrics=metrics_for(settings))
    # Landing has a thread beside the event loop; it must not wait long for its turn.
    sys.setswitchinterval(0.0005)
    # Events hold no cycles; looking for some after every few hundred would take a third of the time.
    gc.freeze()
    gc.set_threshold(100_000, 50, 50)
    return application


def _application_of_many() -> Starlette:
    """What one process of several serves: it ends when the first process does, however that ends."""
    logs.set_up()
    first = multiprocessing.parent_process()
    if sys.platform == "linux" and first is not None:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != first.pid:  # it went before it could be asked for
            sys.exit(1)
    return _application()


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
