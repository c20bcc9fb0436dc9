"""Alerts: triggered on a real PostgreSQL, delivered to a real HTTP server."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from metering import alerts
from metering.alerts import notices


class Webhook:
    """A server that remembers what it was sent, and answers as a test says."""

    def __init__(self) -> None:
        self.received: list[tuple[str | None, dict[str, object]]] = []
        self.answers: dict[str, int] = {}
        webhook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status = webhook.answers.get(self.path, 204)
                webhook.received.append((self.headers.get("Idempotency-Key"), body))
                self.send_response(status)
                self.end_headers()

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    """A local server for webhooks."""
    webhook = Webhook()
    thread = threading.Thread(target=webhook.server.serve_forever)
    thread.start()
    yield webhook
    webhook.server.shutdown()
    thread.join()
    webhook.server.server_close()


@pytest.fixture
def bills(connection):
    """Two teams with an open bill each: 250.00 for 1200 calls, and 90.00 for 30."""
    marts = Path(__file__).parents[1] / "quality" / "marts.sql"
    connection.execute(marts.read_text(encoding="utf-8"))
    connection.execute(
        """
        INSERT INTO billing.teams (team_key, team_name, time_zone) VALUES
            ('acme', 'Acme', 'UTC'), ('zen', 'Zen', 'UTC');
        INSERT INTO billing.meters (meter_key, meter_name, event_name, aggregation, unit) VALUES
            ('calls', 'Calls', 'api.call', 'sum', 'call');
        INSERT INTO billing.billing_periods (
            team_id, subscription_key, period_start, period_end, period_label, time_zone, currency)
        SELECT team_id, 'main', date_trunc('month', now(), 'UTC'),
            date_trunc('month', now() + interval '1 month', 'UTC'), '2026-11', 'UTC', 'USD'
        FROM billing.teams;
        INSERT INTO marts.fct_bills
        SELECT team_id, team_key, subscription_key, period_start, period_end, period_label, currency,
            CASE team_key WHEN 'acme' THEN 250 ELSE 90 END, 'active'
        FROM billing.billing_periods JOIN billing.teams USING (team_id);
        INSERT INTO marts.fct_bill_lines
        SELECT team_id, subscription_key, period_start, 'calls@1', 'usage', period_start, 1,
            CASE total WHEN 250 THEN 1200 ELSE 30 END, 1, currency, total
        FROM marts.fct_bills;
        """
    )
    return connection


def alert(connection, team, key, measure, threshold, *channels):
    connection.execute(
        "INSERT INTO billing.alerts (team_id, alert_key, measure, meter_id, threshold, channels)"
        " SELECT team_id, %s, %s, 1, %s, %s FROM billing.teams WHERE team_key = %s",
        (key, measure, threshold, json.dumps(channels), team),
    )


def test_an_alert_triggers_once_for_a_period_and_threshold(bills):
    alert(bills, "acme", "budget", "amount", "250", "log")
    alert(bills, "acme", "calls", "quantity", "1000.5", "log")
    alert(bills, "zen", "budget", "amount", "90.01", "log")
    assert alerts.evaluate(bills) == {"triggered": 2, "alerts": ["acme budget 2026-11", "acme calls 2026-11"]}
    assert alerts.evaluate(bills)["triggered"] == 0
    bills.execute("UPDATE billing.alerts SET threshold = 100 WHERE alert_key = 'budget' AND team_id = 1")
    assert alerts.evaluate(bills)["triggered"] == 1


def test_an_alert_says_nothing_about_final_bills_earlier_periods_or_when_switched_off(bills):
    alert(bills, "acme", "budget", "amount", "1", "log")
    alert(bills, "zen", "off", "amount", "1", "log")
    bills.execute("UPDATE billing.alerts SET active = false WHERE alert_key = 'off'")
    bills.execute("UPDATE marts.fct_bills SET status = 'finalized'")
    assert alerts.evaluate(bills)["triggered"] == 0
    bills.execute("UPDATE marts.fct_bills SET status = 'closing', period_end = now() - interval '1 hour'")
    assert alerts.evaluate(bills)["triggered"] == 0


def test_a_webhook_is_told_the_fact_with_exact_numbers_and_a_key_of_the_fact(bills, webhook):
    alert(bills, "acme", "calls", "quantity", "1000.50", "log", {"webhook": webhook.url})
    alerts.evaluate(bills)
    assert alerts.deliver(bills) == {"delivered": 1, "failed": 0, "failures": []}
    ((key, body),) = webhook.received
    assert body["id"] == key
    assert (body["team"], body["meter"], body["unit"]) == ("acme", "calls", "call")
    assert (body["threshold"], body["observed"], body["period"]) == ("1000.5", "1200", "2026-11")
    assert alerts.deliver(bills)["delivered"] == 0
    assert len(webhook.received) == 1


def test_a_failing_webhook_is_tried_again_with_the_same_key_and_stops_no_other(bills, webhook):
    webhook.answers["/down"] = 503
    alert(bills, "acme", "budget", "amount", "1", {"webhook": f"{webhook.url}/down"})
    alert(bills, "zen", "refused", "amount", "1", {"webhook": "http://127.0.0.1:1/"})
    alert(bills, "zen", "nonsense", "amount", "1", {"pigeon": "loft"})
    alert(bills, "zen", "budget", "amount", "1", {"webhook": f"{webhook.url}/up"})
    alerts.evaluate(bills)
    outcome = alerts.deliver(bills)
    assert (outcome["delivered"], outcome["failed"]) == (1, 3)
    failed = bills.execute("SELECT * FROM billing.alert_events WHERE alert_key = 'budget' AND team_id = 1").fetchone()
    assert failed["delivery_error"] == "RuntimeError: the webhook answered 503"
    assert (failed["attempts"], failed["delivered_at"]) == (1, None)
    webhook.answers["/down"] = 200
    assert alerts.deliver(bills)["delivered"] == 1
    keys = [key for key, body in webhook.received if body["team"] == "acme"]
    assert len(keys) == 2 and len(set(keys)) == 1
    mended = bills.execute("SELECT * FROM billing.alert_events WHERE alert_key = 'budget' AND team_id = 1").fetchone()
    assert (mended["attempts"], mended["delivery_error"]) == (2, None)


def test_notices_reach_the_webhook_and_never_raise(webhook, monkeypatch, caplog):
    monkeypatch.setenv("BILLING_NOTICE_WEBHOOK", webhook.url)
    assert notices.tell("A task failed.", ["because"])
    assert webhook.received == [(None, {"text": "A task failed.\nbecause"})]
    webhook.answers["/"] = 500
    assert not notices.tell("Again.", [])
    monkeypatch.setenv("BILLING_NOTICE_WEBHOOK", "nonsense")
    assert not notices.tell("Again.", [])
