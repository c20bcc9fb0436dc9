"""Connections that break after the commit and before the reply: the client can't know, and it counts once."""

from __future__ import annotations

import time

from .rig import Rig
from .wire import Wire


def test_replies_that_never_arrive_count_nothing_twice(rig: Rig) -> None:
    (one, other) = (Wire(service.port, rig.rng, share=0.3) for service in rig.services)
    with one, other, rig.load([one.address, other.address]) as load:
        load.wait_for_answers()
        one.cutting.set()
        other.cutting.set()
        deadline = time.monotonic() + 60
        while one.cuts + other.cuts < rig.times * 5 and time.monotonic() < deadline:
            time.sleep(0.01)
        one.cutting.clear()
        other.cutting.clear()
        rig.faults += ["reply"] * (one.cuts + other.cuts)
        load.wait_for_answers()
        figures = rig.settle(load)
    # What was cut had been committed: it was sent again, and told to be there.
    assert figures.answered_duplicate >= len(rig.faults)
