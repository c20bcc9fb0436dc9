"""Writers that race, commit late and out of order, or send what was counted long ago."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import psycopg
from psycopg.rows import DictRow

from metering import archive, database, runs
from metering.archive import months as archive_months

from . import audit
from .meter_repeatedly import meter
from .rig import Rig

# Commits come when they like: each waits for up to a third of a second between its last statement and its end.
COMMIT_LATE = """
CREATE FUNCTION landing.commit_late() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_sleep(random() * 0.3); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER commit_late AFTER INSERT ON landing.batches DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION landing.commit_late();
"""
COMMIT_IN_TIME = "DROP TRIGGER commit_late ON landing.batches; DROP FUNCTION landing.commit_late()"


def test_two_services_that_are_sent_the_same_keys_at_the_same_time_count_each_once(rig: Rig) -> None:
    keys = [f"race-{number}" for number in range(1000)]

    def send(sender: int) -> dict[str, int]:
        """Send every key in batches of an order of its own; every tenth sender contradicts the others."""
        order = list(keys)
        rig.rng.shuffle(order)
        tally = {"accepted": 0, "duplicate": 0, "quarantined": 0, "refused": 0}
        quantity = "2" if sender % 10 == 9 else "1"
        with _client(rig, rig.services[sender % 2].address) as client:
            for first in range(0, len(order), 100):
                reply = client.post(
                    "/api/usage/track", json=[_event(key, quantity) for key in order[first : first + 100]]
                )
                assert reply.status_code == 200, reply.text
                for name in tally:
                    tally[name] += reply.json()[name]
        return tally

    with ThreadPoolExecutor(20) as pool:
        tallies = list(pool.map(send, range(20)))
    total = {name: sum(tally[name] for tally in tallies) for name in tallies[0]}
    assert total["accepted"] == len(keys)
    assert total["refused"] == 0
    assert sum(total.values()) == 20 * len(keys)
    with rig.connect() as connection:
        rows = database.rows(connection, audit.LANDED)
        assert sorted(row["event_key"] for row in rows) == sorted(keys)
        contradicted = sum(row["quantity"] == 2 for row in rows)
        # Whoever came first stands; 18 or 2 others said something else about it.
        assert total["quarantined"] == 2 * (len(keys) - contradicted) + 18 * contradicted
        if not rig.thorough:
            return
        meter(connection, rig.settings)
        (month,) = database.rows(connection, audit.MARTS["fct_usage_monthly"])
        assert (month["events"], month["quantity"]) == (len(keys), len(keys) + contradicted)


def test_a_transaction_that_commits_after_later_ones_were_recorded_is_waited_for(rig: Rig) -> None:
    with (
        rig.connect() as slow,
        rig.connect() as metering,
        _client(rig, rig.services[0].address) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        slow.execute("SELECT landing.ensure_months(ARRAY['2026-07-05Z'::timestamptz])")
        with slow.transaction():
            _land(slow, "slow", "2026-07-05T18:00:00Z")
            # Others are recorded later and committed earlier.
            reply = client.post("/api/usage/track", json=[_event(f"quick-{number}", "1") for number in range(10)])
            assert reply.json()["accepted"] == 10
            opening = pool.submit(runs.open_run, metering, "faults")
            time.sleep(0.5)
            assert not opening.done(), "its horizon waits for the transaction that is still open"
        run = opening.result(30)
        queued = database.rows(metering, "SELECT bucket_start FROM billing.buckets_to_meter ORDER BY 1")
        # No later run looks for what was recorded before this one, so both quarter-hours must be in its queue.
        assert [f"{row['bucket_start']:%H:%M}" for row in queued] == ["12:00", "18:00"]
        runs.close_run(metering, run)


def test_commits_out_of_order_while_metering_runs_are_opened_lose_nothing(rig: Rig) -> None:
    with rig.connect() as connection:
        connection.execute(COMMIT_LATE)
        try:
            with rig.load(pause=0.1) as load:
                for _ in range(rig.times * 3):
                    load.wait_for_answers()
                    time.sleep(rig.rng.uniform(0, 0.2))
                    run = runs.open_run(connection, "faults")
                    rig.fault("a horizon among late commits")
                    if not rig.thorough:  # else its queue stays for the run that is metered in the end
                        runs.close_run(connection, run)
                load.wait_for_answers()
                rig.settle(load)
        finally:
            connection.execute(COMMIT_IN_TIME)
        if not rig.thorough:
            runs.close_run(connection, runs.open_run(connection, "faults"))
        # Each run took up what had been recorded since the one before: nobody was overtaken by a horizon.
        arrived = database.one(connection, "SELECT sum(events_arrived) AS n FROM billing.metering_runs")["n"]
        assert arrived == len(load.expected)


def test_a_key_counts_once_across_months_replays_services_and_after_its_month_was_archived(rig: Rig) -> None:
    # Before anybody had a subscription, so that no bill keeps the month from being archived.
    events = [{**_event(f"once-{number}", "1"), "time": "2025-07-05T12:00:00Z"} for number in range(50)]
    moved = [{**event, "time": "2026-09-05T12:00:00Z"} for event in events]

    def send(number: int, batch: list[dict[str, Any]]) -> dict[str, Any]:
        with _client(rig, rig.services[number % 2].address) as client:
            reply = client.post("/api/usage/track", json=batch)
            assert reply.status_code == 200, reply.text
            said: dict[str, Any] = reply.json()
            return said

    def everybody(batch: list[dict[str, Any]]) -> dict[str, int]:
        with ThreadPoolExecutor(8) as pool:
            replies = list(pool.map(lambda number: send(number, batch), range(8)))
        return {name: sum(reply[name] for reply in replies) for name in ("accepted", "duplicate", "quarantined")}

    once = {"accepted": 50, "duplicate": 350, "quarantined": 0}
    again = {"accepted": 0, "duplicate": 400, "quarantined": 0}
    contradicted = {"accepted": 0, "duplicate": 0, "quarantined": 400}
    assert everybody(events) == once
    assert everybody(events) == again
    # In another month it is another content of the same key.
    assert everybody(moved) == contradicted
    assert {event["reason"] for event in send(0, moved)["events"]} == {"conflict"}
    with rig.connect() as connection, ThreadPoolExecutor(1) as pool:
        runs.close_run(connection, runs.open_run(connection, "faults"))
        archiving = pool.submit(_archive, rig)
        rounds = [everybody(events)]
        while not archiving.done():
            rounds.append(everybody(events))
        archiving.result()
        assert rounds == [again] * len(rounds)
        assert database.rows(connection, audit.LANDED) == []
        for batch, expected in ((events, again), (moved, contradicted)):
            assert everybody(batch) == expected
        archive.restore(connection, archive_months.find(connection, "2025-07"))
        assert everybody(events) == again
        assert len(database.rows(connection, audit.LANDED)) == 50


def _archive(rig: Rig) -> None:
    """Archive the month of July 2025 and drop it."""
    with rig.connect() as connection:
        archive.archive(connection, archive_months.find(connection, "2025-07"), rig.folder)
        archive.drop(connection, archive_months.find(connection, "2025-07"))


def _client(rig: Rig, address: str) -> httpx.Client:
    headers = {"authorization": f"Bearer {rig.api_key}"}
    return httpx.Client(base_url=address, headers=headers, timeout=30, trust_env=False)


def _event(key: str, quantity: str) -> dict[str, Any]:
    return {
        "team": "acme", "event": "work_done", "quantity": quantity, "unit": "unit", "idempotency_key": key,
        "time": "2026-07-05T12:00:00Z",
    }  # fmt: skip


def _land(connection: psycopg.Connection[DictRow], key: str, time: str) -> None:
    """Land an event as landing does, in the transaction that is open."""
    connection.execute(
        "WITH now AS (SELECT landing.record_now() AS moment),"
        " batch AS (INSERT INTO landing.batches (recorded_at, source, accepted, duplicates, quarantined,"
        "  first_occurred_at, last_occurred_at)"
        "  SELECT moment, 'faults', 1, 0, 0, %(time)s, %(time)s FROM now"
        "  RETURNING batch_id, recorded_at)"
        " INSERT INTO landing.usage_events (team_id, occurred_at, key_digest, event_key, event_name, quantity,"
        "  batch_id, recorded_at)"
        " SELECT team_id, %(time)s, md5(%(key)s)::uuid, %(key)s, 'work_done', 1, batch_id, recorded_at"
        " FROM batch, billing.teams WHERE team_key = 'acme'",
        {"key": key, "time": time},
    )
