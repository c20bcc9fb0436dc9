"""Measurements of the real thing: its own PostgreSQL, its own service, real sockets, on the machine at hand."""
