"""## Keep the shelves ready

**What it bills.** Nothing. It makes the month partitions of `landing.usage_events` for this month and the next three,
and opens the billing periods that have begun, so that no event waits for either.

**When it is red.** The log says which statement failed. Events still land meanwhile: writers make a missing partition
themselves, only slower. Step by step: `docs/runbooks/maintain_partitions.md`.

**Safe to run again?** Always: what is there stays as it is.
"""

from airflow.sdk import DAG
from house import DEFAULTS, Tag
from operators.metering_task import metering_task

with DAG(
    dag_id="maintain_partitions",
    description="Makes month partitions ahead and opens billing periods.",
    doc_md=__doc__,
    schedule="0 3 * * *",
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULTS,
    tags=[Tag.UPKEEP.value],
):

    @metering_task()
    def make_partitions(connection):
        """Make the month partitions from this month to three months ahead."""
        from metering import partitions

        return partitions.make_ahead(connection)

    @metering_task()
    def open_periods(connection):
        """Open each billing period that has begun."""
        from metering import periods

        return periods.open_periods(connection)

    make_partitions()
    open_periods()
