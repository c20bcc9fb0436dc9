"""## Tell teams when their bill or usage reaches a threshold

**What it bills.** Nothing. It compares the alerts of `billing.alerts` with the bills that are not final, each time
those were made again, and delivers what triggered to the log and to webhooks.

**When it is red.** `evaluate` could not read the marts; the log says why. A webhook that does not answer makes
nothing red: the failure stands in `billing.alert_events` and is tried again by the next run. Step by step:
`docs/runbooks/evaluate_alerts.md`.

**Safe to run again?** Always: an alert triggers once for each billing period and threshold, and what was delivered is
not delivered again.
"""

from airflow.sdk import DAG
from house import BILLS, DEFAULTS, Tag
from operators.metering_task import metering_task

with DAG(
    dag_id="evaluate_alerts",
    description="Triggers and delivers the alerts whose threshold an open bill has reached.",
    doc_md=__doc__,
    schedule=[BILLS],
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULTS,
    tags=[Tag.ALERTS.value],
):

    @metering_task()
    def evaluate(connection):
        """Trigger each alert that has reached its threshold, once for each billing period."""
        from metering import alerts

        return alerts.evaluate(connection)

    @metering_task()
    def deliver(connection):
        """Deliver what has triggered to the log and to webhooks; what fails is tried again by the next run."""
        from metering import alerts

        return alerts.deliver(connection)

    evaluate() >> deliver()
