"""A disk that fills up, and one whose power is cut: refused while it lasts, and nothing lost or doubled by it."""

from __future__ import annotations

import time

import psycopg
import pytest

from . import audit
from .rig import Rig


def test_a_full_disk_in_the_middle_of_a_load_loses_nothing_and_counts_nothing_twice(rig_on_a_disk: Rig) -> None:
    rig = rig_on_a_disk
    assert rig.disk is not None
    with rig.load() as load:
        for _ in range(rig.times):
            rig.moment(load)
            rig.disk.fill()
            if rig.rng.random() < 0.5:
                _end_the_log_segment(rig)
            before, began = load.answered, time.monotonic()
            while load.answered > before and time.monotonic() < began + 10:
                before = load.answered
                time.sleep(0.2)
            time.sleep(rig.rng.uniform(0, 0.6))
            rig.fault("the table's disk is full" if rig.server.runs else "the log's disk is full; PostgreSQL gave up")
            rig.disk.relieve()
            rig.mend()
        load.wait_for_answers()
        rig.settle(load)


def test_a_power_cut_in_the_middle_of_a_load_loses_nothing_and_counts_nothing_twice(rig_on_a_disk: Rig) -> None:
    rig = rig_on_a_disk
    with rig.load() as load:
        for _ in range(rig.times):
            rig.moment(load)
            _power_cut(rig)
        load.wait_for_answers()
        rig.settle(load)


def test_a_server_that_does_not_wait_for_its_disk_is_found_out_by_a_power_cut(rig_on_a_disk: Rig) -> None:
    rig = rig_on_a_disk
    _configure(rig, "ALTER SYSTEM SET synchronous_commit = off", "ALTER SYSTEM SET wal_writer_delay = '10s'",
               "ALTER SYSTEM SET wal_writer_flush_after = '1GB'")  # fmt: skip
    try:
        with rig.load() as load:
            load.wait_for_answers(1000)
            _power_cut(rig)
            tally = load.finish()
        with rig.connect() as connection, pytest.raises(AssertionError, match=r"lost=[1-9]"):
            audit.landed(connection, load.expected, tally)
    finally:
        _configure(rig, "ALTER SYSTEM RESET ALL")


def _power_cut(rig: Rig) -> None:
    """Cut the power of the disk and of everything that runs, and switch it on again."""
    assert rig.disk is not None
    running = rig.server.family()  # what runs is written on the disk, too
    rig.disk.cut_power()
    rig.server.kill_all(running)
    for service in rig.services:
        service.kill()
    rig.fault("power")
    rig.disk.restore_power()
    rig.mend()


def _configure(rig: Rig, *statements: str) -> None:
    with rig.connect() as connection:
        for statement in (*statements, "SELECT pg_reload_conf()"):
            connection.execute(statement)


def _end_the_log_segment(rig: Rig) -> None:
    """Have the server begin a new file of its log, for which there is no room."""
    try:
        with psycopg.connect(rig.server.url, connect_timeout=5, autocommit=True) as connection:
            connection.execute("SELECT pg_switch_wal()")
    except psycopg.OperationalError:
        return  # that was the end of it already
