"""## Make bills final

**What it bills.** Each billing period that ended six hours ago or longer, has everything metered and rated, and whose
team is not held: its bill becomes final and never changes again. What comes later about it is an adjustment on the
next bill.

**When it is red.** A metering run is open, so the bills may be between two states: let `aggregate_usage` succeed,
this one tries again by itself. Bills of held teams stay open and are listed in the log. Step by step:
`docs/runbooks/close_billing_periods.md`.

**Safe to run again?** Always: a period becomes final once.
"""

from datetime import timedelta

from airflow.sdk import DAG
from house import DEFAULTS, Pool, Tag
from operators.metering_task import metering_task

with DAG(
    dag_id="close_billing_periods",
    description="Makes the bills of ended billing periods final.",
    doc_md=__doc__,
    schedule="45 * * * *",
    catchup=False,
    max_active_runs=1,
    # A metering run that is open closes within seconds, or minutes. It needs the pool to do so: nobody waits in it.
    default_args={**DEFAULTS, "retries": 5, "retry_delay": timedelta(seconds=10)},
    tags=[Tag.BILLING.value],
):

    @metering_task(pool=Pool.MARTS.value)
    def close_periods(connection):
        """Keep the bill of each period that is due, with its lines, the time up to which they know, and a digest."""
        from metering import closing

        return closing.close_periods(connection)

    close_periods()
