"""Start the emulator: ``python -m metering.stripe_emulator --port 12111 --state stripe.sqlite``."""

import argparse
import logging
import signal
import socket
import sys
from pathlib import Path

import uvicorn

from metering.errors import BillingError
from metering.stripe_emulator.app import application
from metering.stripe_emulator.clock import Clock
from metering.stripe_emulator.faults import Faults
from metering.stripe_emulator.gate import Gate
from metering.stripe_emulator.store import Store
from metering.stripe_emulator.wire import Protocol

HOST = "127.0.0.1"
DEFAULT_PORT = 12111

_EXAMPLE = """\
example:
  python -m metering.stripe_emulator --port 12111 --state run/stripe.sqlite
  curl -u sk_test_local: http://127.0.0.1:12111/v1/customers -d name=Acme -d 'metadata[team]=acme'
  curl http://127.0.0.1:12111/emulator/clock -d '{"now": 1767225600}'
"""


def main(arguments: list[str] | None = None) -> int:
    """Serve until interrupted. Returns 0, or 1 after one sentence on what is in the way."""
    options = _options(arguments)
    try:
        with _listen(options.host, options.port) as listening:
            _serve(listening, options)
    except BillingError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _serve(listening: socket.socket, options: argparse.Namespace) -> None:
    store = Store(options.state)
    gate = Gate(store, Clock(store), Faults(), options.api_key)
    config = uvicorn.Config(
        application(gate, allow_reset=options.allow_reset),
        http=Protocol,
        loop="uvloop",
        lifespan="on",
        log_level="warning",
        access_log=False,
        # The replies carry the emulator's own Date.
        date_header=False,
        server_header=False,
        timeout_keep_alive=120,
        timeout_graceful_shutdown=1,
    )
    logging.basicConfig(format="%(levelname)s %(message)s")
    # The server passes SIGTERM on once it has stopped: leave then as from any other end, with the state file closed.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    print(
        f"Stripe emulator at http://{options.host}:{listening.getsockname()[1]}, state in {options.state}", flush=True
    )
    try:
        uvicorn.Server(config).run(sockets=[listening])
    except KeyboardInterrupt:
        pass
    finally:
        store.close()


def _listen(host: str, port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(512)
    except OSError as error:
        listening.close()
        raise BillingError(
            f"Port {port} of {host} cannot be used ({error.strerror}).",
            "Stop what uses it or give another --port; 0 takes a free one.",
        ) from error
    return listening


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m metering.stripe_emulator",
        description="A loopback emulator of the part of Stripe that metered billing talks to. It takes test keys only.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", default=HOST, help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="port to listen on; 0 takes a free one")
    parser.add_argument("--state", type=Path, required=True, help="SQLite file; made if missing, kept across restarts")
    parser.add_argument("--api-key", help="the one test key to take; without it, any sk_test_... is taken")
    parser.add_argument("--allow-reset", action="store_true", help="let POST /emulator/reset forget everything")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
