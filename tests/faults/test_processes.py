"""kill -9 at random moments of a load: what was acknowledged is counted once, and nothing is counted twice."""

from __future__ import annotations

import time

import pytest

from .rig import Rig


@pytest.mark.parametrize("victim", ["the service", "PostgreSQL", "both"])
def test_kill_9_in_the_middle_of_a_load_loses_nothing_and_counts_nothing_twice(rig: Rig, victim: str) -> None:
    with rig.load() as load:
        for _ in range(rig.times):
            rig.moment(load)
            if victim != "the service":
                rig.fault(rig.server.kill(rig.rng))
            if victim != "PostgreSQL":
                for service in rig.rng.sample(rig.services, rig.rng.randint(1, len(rig.services))):
                    service.kill()
                    rig.fault(f"service {service.port}")
            time.sleep(rig.rng.choice((0, rig.rng.uniform(0, 0.5))))
            rig.mend()
        load.wait_for_answers()
        rig.settle(load, metered=rig.thorough or victim == "both")
