"""## Usage in, bills out, every hour

**What it bills.** Everything that arrived since the last run: the quarter-hours that new events touch are computed
again from raw events, rated by the prices in force, and the bills concerned are made again. Bills that are final stay
as they are; what changes about them becomes an adjustment on the next.

**When it is red.** Nothing is lost: what a failed run took up stays queued, and the next run does it. The failed
task's log says in one sentence what is wrong. `gate_arrivals` is red when what landed contradicts itself,
`build_usage` and `rate_usage` name the model that failed, `gate_bills` could not look. Teams that a gate holds are no
failure: see `billing.holds`. Step by step: `docs/runbooks/aggregate_usage.md`.

**Safe to run again?** Always: late, twice, killed half-way or as a backfill, the tables come out the same.

**Backfill.** A backfill computes every hour of its range again from raw events. For a day or a month in one run,
trigger the DAG by hand and fill in *from* and *until*.
"""

from airflow.sdk import DAG, CronDataIntervalTimetable, ExceptionRetryPolicy, Param, RetryAction, RetryRule
from house import BILLS, DEFAULTS, Pool, Tag
from operators.metering_task import metering_task, window
from operators.transform import TransformOperator

# What a gate finds wrong is as wrong a minute later.
GATES = {
    "retry_policy": ExceptionRetryPolicy(
        rules=[RetryRule(exception="metering.quality.gate.GateError", action=RetryAction.FAIL)]
    )
}
MOMENT = {"type": ["null", "string"], "format": "date-time"}

with DAG(
    dag_id="aggregate_usage",
    description="Meters, rates and gates everything that arrived since the last run.",
    doc_md=__doc__,
    schedule=CronDataIntervalTimetable("0 * * * *", timezone="UTC"),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULTS,
    tags=[Tag.METERING.value, Tag.BILLING.value],
    params={
        "from": Param(
            None,
            **MOMENT,
            title="Compute again from",
            description_md="First moment of usage to compute again. Empty: what arrived since the last run.",
        ),
        "until": Param(None, **MOMENT, title="Until", description_md="The moment before which that usage ends."),
    },
):

    @metering_task()
    def open_run(connection, dag_run=None, params=None):
        """Queue the quarter-hours and billing periods that need work."""
        from metering import runs

        return runs.open_run(connection, f"airflow {dag_run.run_id}", *window(dag_run, params))

    @metering_task(**GATES)
    def gate_arrivals(connection, run):
        """Check what arrived, before it is metered; hold teams whose events can't be right."""
        from metering import quality

        return quality.gate_arrivals(connection, run)

    @metering_task(**GATES, pool=Pool.MARTS.value)
    def gate_bills(connection, run):
        """Check the bills that are not final; hold teams whose bills can't be right."""
        from metering import quality

        return quality.gate_bills(connection, run)

    @metering_task(pool=Pool.MARTS.value, outlets=[BILLS])
    def close_run(connection, run, bills, outlet_events=None):
        """Empty the queue of what this run did, and tell whoever waits for bills."""
        from metering import runs

        closed = runs.close_run(connection, run)
        outlet_events[BILLS].extra = {
            "run": run,
            "events": int(closed["events_arrived"]),
            "bills": bills["bills"],
            "moved": bills["moved"],
            "totals": bills["totals"],
        }

    build_usage = TransformOperator(
        task_id="build_usage",
        select="tag:usage",
        doc_md="Quarter-hours from raw events, then usage by hour, day and month of each team's own zone.",
    )
    rate_usage = TransformOperator(
        task_id="rate_usage",
        select="tag:billing",
        doc_md="Usage times the price in force: rated usage by tier, bill lines, bills, and what Stripe should have.",
    )

    run = open_run()
    gated = gate_bills(run)
    gate_arrivals(run) >> build_usage >> rate_usage >> gated
    close_run(run, gated)
