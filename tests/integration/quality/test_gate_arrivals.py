"""The gate on what arrived, on a real PostgreSQL and by the real Great Expectations."""

from __future__ import annotations

import pytest

from metering.quality import GateError, gate_arrivals

# Great Expectations imports what Python will drop one day; that is its own affair.
pytestmark = pytest.mark.filterwarnings("default::DeprecationWarning")


def holds(connection):
    return {
        (row["team_key"], row["hold_key"])
        for row in connection.execute(
            "SELECT team_key, hold_key FROM billing.holds JOIN billing.teams USING (team_id) WHERE released_at IS NULL"
        )
    }


def test_what_is_right_passes_and_each_check_leaves_a_result(connection, landing):
    landing.land((1, "api.call", "2"), (2, "api.call", "0"), (2, "credit", "-5"))
    run = landing.open_run()
    outcome = gate_arrivals(connection, run)
    assert (outcome["arrived"], outcome["failed"], outcome["held"]) == (3, {}, 0)
    results = connection.execute("SELECT run_id, success FROM billing.gate_results").fetchall()
    assert len(results) == 8
    assert all(row == {"run_id": run, "success": True} for row in results)


def test_a_team_is_held_with_the_reason_and_others_are_not(connection, landing):
    landing.land((1, "api.call", "-3"), (1, "api.call", "1e16"), (1, "api.cal", "1"), (1, "api.call", "NaN"))
    landing.land((2, "api.call", "7"))
    outcome = gate_arrivals(connection, landing.open_run())
    assert holds(connection) == {
        ("acme", "arrivals:negative_quantity"),
        ("acme", "arrivals:absurd_quantity"),
        ("acme", "arrivals:unmetered_event"),
        ("acme", "arrivals:not_a_number"),
    }
    assert outcome["held"] == 4
    reason = connection.execute(
        "SELECT reason FROM billing.holds WHERE hold_key = 'arrivals:negative_quantity'"
    ).fetchone()
    assert reason["reason"] == (
        "Quantities, or the properties that meters take for them, are below zero, and no meter of these events allows"
        " that. acme: api.call (1)."
    )


def test_what_meters_take_from_properties_is_looked_at_as_quantities_are(connection, landing):
    connection.execute(
        "INSERT INTO billing.meters (meter_key, meter_name, event_name, aggregation, value_property, unit, filters,"
        " allow_negative) VALUES"
        " ('tokens', 'Tokens', 'prompt', 'sum', 'tokens', 'token', '{\"model\": [\"a\"]}', false),"
        " ('models', 'Models', 'prompt', 'unique_count', 'model', 'model', '{}', false),"
        " ('refunds', 'Refunds', 'refund', 'sum', 'amount', 'refund', '{}', true)"
    )
    right = [
        ("prompt", {"model": "a", "tokens": 12}), ("prompt", {"model": "b", "tokens": "-1e20"}),
        ("prompt", {"model": "a"}), ("refund", {"amount": -5}), ("api.call", {"tokens": "many"}),
    ]  # fmt: skip
    landing.land(*((2, name, "1", properties) for name, properties in right))
    wrong = ("-1", 10**16, "many")
    landing.land(*((1, "prompt", "1", {"model": "a", "tokens": value}) for value in wrong))
    gate_arrivals(connection, landing.open_run())
    assert holds(connection) == {
        ("acme", f"arrivals:{check}") for check in ("negative_quantity", "absurd_quantity", "not_a_number")
    }
    landing.withdraw("team_id = 1")
    assert gate_arrivals(connection, landing.open_run())["released"] == 3


def test_a_meter_that_comes_later_holds_teams_whose_earlier_events_it_cannot_count(connection, landing):
    connection.execute(
        "INSERT INTO billing.meters (meter_key, meter_name, event_name, aggregation, unit)"
        " VALUES ('prompts', 'Prompts', 'prompt', 'count', 'prompt')"
    )
    landing.land((1, "prompt", "1", {"n": "1e999"}), (1, "prompt", "1", {"n": "many"}), (2, "prompt", "1", {"n": 5}))
    assert gate_arrivals(connection, landing.open_run())["failed"] == {}
    connection.execute(
        "INSERT INTO billing.meters (meter_key, meter_name, event_name, aggregation, value_property, unit, parameters)"
        " VALUES ('tokens', 'Tokens', 'prompt', 'sum', 'n', 'token', '{}'),"
        " ('thousands', 'Thousands', 'prompt', 'sum', NULL, 'token', '{\"multiplier\": \"1000\"}')"
    )
    outcome = gate_arrivals(connection, landing.open_run())
    assert outcome["failed"] == {"uncountable_before_meter": ["acme: tokens of prompt (2)."]}
    assert gate_arrivals(connection, landing.open_run())["released"] == 0
    landing.withdraw("true")
    assert gate_arrivals(connection, landing.open_run())["released"] == 1


def test_a_clean_hour_releases_nobody_but_a_mended_cause_does(connection, landing):
    landing.land((1, "api.call", "-3"))
    gate_arrivals(connection, landing.open_run())
    landing.land((1, "api.call", "4"), (2, "api.call", "4"))
    assert gate_arrivals(connection, landing.open_run())["released"] == 0
    assert holds(connection) == {("acme", "arrivals:negative_quantity")}
    landing.withdraw("quantity < 0")
    assert gate_arrivals(connection, landing.open_run())["released"] == 1
    assert holds(connection) == set()
    by = connection.execute("SELECT released_by FROM billing.holds").fetchone()["released_by"]
    assert by == "gate arrivals, run 3"


def test_events_that_are_missing_stop_every_run_until_they_are_explained(connection, landing):
    landing.land((1, "api.call", "1"), accepted=2)
    with pytest.raises(GateError, match="landed 1, accepted 2"):
        gate_arrivals(connection, landing.open_run())
    landing.land((1, "api.call", "1"))
    # The next run looks at the interval of the one that did not pass, too.
    with pytest.raises(GateError, match="landed 2, accepted 3"):
        gate_arrivals(connection, landing.open_run())
    connection.execute("UPDATE landing.batches SET accepted = 1 WHERE accepted = 2")
    assert gate_arrivals(connection, landing.open_run())["failed"] == {}
    assert holds(connection) == set()


def test_events_of_no_known_team_can_be_held_against_nobody(connection, landing):
    landing.land((99, "api.call", "1"))
    with pytest.raises(GateError, match="team_id 99"):
        gate_arrivals(connection, landing.open_run())


def test_an_unusual_share_in_quarantine_warns_and_holds_nobody(connection, landing):
    landing.land((1, "api.call", "1"))
    connection.execute(
        "INSERT INTO landing.quarantined_events (team_id, quarantine_digest, reason, message, source, payload,"
        " first_recorded_at, last_recorded_at) SELECT 1, md5('x')::uuid, 'unknown_event', 'no such event', 'http',"
        " '{}', now, now FROM landing.record_now() AS now"
    )
    outcome = gate_arrivals(connection, landing.open_run())
    assert outcome["failed"] == {"quarantined_share": ["acme: held in quarantine (1)."]}
    assert holds(connection) == set()


def test_running_a_gate_again_holds_and_finds_the_same(connection, landing):
    landing.land((1, "api.call", "-3"))
    run = landing.open_run()
    first, again = gate_arrivals(connection, run), gate_arrivals(connection, run)
    assert first["failed"] == again["failed"]
    assert len(connection.execute("SELECT FROM billing.holds").fetchall()) == 1
