"""kill -9 of a metering run, and of the database under it, while usage comes in: the next run makes it whole."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

from metering import database
from metering.settings import PROJECT_ROOT

from .rig import Rig

PROGRAM = Path(__file__).with_name("meter_repeatedly.py")


RUNS = "SELECT count(*) AS n FROM billing.metering_runs"


def test_metering_that_is_killed_at_random_moments_ends_with_the_same_marts(rig: Rig, tmp_path: Path) -> None:
    output = tmp_path / "metering.log"
    with rig.load(pause=0.3) as load:
        for _ in range(rig.times if rig.thorough else 2):
            load.wait_for_answers()
            began = _runs(rig)
            with output.open("wb") as log:
                metering = _start(rig, log)
            try:
                while _runs(rig) == began:
                    assert metering.poll() is None, output.read_text()
                    time.sleep(0.02)
                time.sleep(rig.rng.uniform(0, 2.5))
                assert metering.poll() is None, output.read_text()
                if rig.rng.random() < 0.3:
                    rig.fault(rig.server.kill(rig.rng))
            finally:
                metering.kill()
                metering.wait()
            rig.fault("metering")
            rig.mend()
        load.wait_for_answers()
        rig.settle(load, metered=True)


def _runs(rig: Rig) -> int:
    with rig.connect() as connection:
        return int(database.one(connection, RUNS)["n"])


def _start(rig: Rig, log: IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-P", str(PROGRAM)],
        env={
            **os.environ,
            "DATABASE_URL": rig.server.url,
            "BILLING_HOME": str(rig.settings.home),
            "PYTHONPATH": str(PROJECT_ROOT / "include"),
        },
        stdout=log,
        stderr=subprocess.STDOUT,
    )
