"""TCP ports on loopback: is one free, who has it, which one can we have."""

from __future__ import annotations

import errno
import socket

import psutil


def who_listens(host: str, port: int) -> str | None:
    """Say who holds a port, as a person would ("python, process 4711"), or None where it is free."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port in TIME_WAIT is free
        try:
            probe.bind((host, port))
            return None
        except OSError as error:
            if error.errno == errno.EACCES:
                return "the system (ports below 1024 are for root)"
            if error.errno != errno.EADDRINUSE:
                raise
    pid = listener(port)
    if pid is None:
        return "another program"
    try:
        return f"{psutil.Process(pid).name()}, process {pid}"
    except psutil.Error:
        return f"process {pid}"


def listener(port: int) -> int | None:
    """The process that listens on a port, where the system lets us know."""
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port:
                return int(connection.pid) if connection.pid else None
    except (psutil.Error, OSError):
        pass
    return None


def free_port() -> int:
    """A port that is free now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
