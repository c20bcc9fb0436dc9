"""## Keep the shelves ready

**What it bills.** Nothing. It makes the month partitions of `landing.usage_events` for this month and the next three,
and opens the billing periods that have begun, so that no event waits for either. Months that closed long ago
(`BILLING_ARCHIVE_AFTER_MONTHS`) go to Parquet; `./billing archive restore` brings one back. What is said of each
transaction of landing is summed up after a week.

**When it is red.** The log says which statement failed, or why a month could not be archived; it is where it was.
Events still land meanwhile: writers make a missing partition themselves, only slower. Step by step:
`docs/runbooks/maintain_partitions.md`.

**Safe to run again?** Always: what is there stays as it is, and a month is archived as a whole or not at all.
"""

from airflow.sdk import DAG
from house import DEFAULTS, Tag
from operators.metering_task import metering_task

with DAG(
    dag_id="maintain_partitions",
    description="Makes month partitions ahead, opens billing periods, archives old months.",
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

    @metering_task()
    def archive_months(connection):
        """Write months that closed long ago to Parquet, prove the files, and take the months out of the table."""
        from metering import archive

        return archive.keep_up(connection)

    @metering_task()
    def merge_batches(connection):
        """Merge the rows about transactions that were metered more than a week ago."""
        from metering import batches

        return batches.merge(connection)

    make_partitions()
    open_periods()
    archive_months()
    merge_batches()
