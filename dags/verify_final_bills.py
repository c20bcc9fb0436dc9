"""## Build final bills again and compare

**What it bills.** Nothing. Every night it builds each bill that became final since the night before, and a hundred of
all others, again as of the moment that each has kept, and compares digests: that a bill can be explained later rests
on its coming out the same.

**When it is red.** `rebuild_final_bills` names the bills that come out otherwise, with both totals. Nothing was
changed; the kept bills stand. How to find the cause: `docs/runbooks/verify_final_bills.md`.

**Safe to run again?** Always: it only reads.
"""

from airflow.sdk import DAG, ExceptionRetryPolicy, Param, RetryAction, RetryRule
from house import DEFAULTS, Tag
from operators.metering_task import metering_task

# What comes out otherwise comes out otherwise again.
FINAL = ExceptionRetryPolicy(
    rules=[RetryRule(exception="metering.bills.verification.DigestError", action=RetryAction.FAIL)]
)

with DAG(
    dag_id="verify_final_bills",
    description="Builds final bills again as of their moments and compares digests.",
    doc_md=__doc__,
    schedule="30 2 * * *",
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULTS,
    tags=[Tag.BILLING.value, Tag.FINANCE.value],
    params={
        "sample": Param(
            100,
            type="integer",
            minimum=0,
            title="Bills besides",
            description_md="How many bills that became final earlier are rebuilt, too.",
        ),
        "period": Param(
            None,
            type=["null", "string"],
            title="Period",
            description_md="Only bills of this billing period, such as 2026-10; left out: of all.",
        ),
    },
):

    @metering_task(retry_policy=FINAL)
    def rebuild_final_bills(connection, params=None, run_id=None):
        """Rebuild the bills that became final in the last 25 hours, and a sample of the others."""
        from datetime import UTC, datetime, timedelta

        from metering.bills import verification

        since = datetime.now(UTC) - timedelta(hours=25)
        return verification.verify(connection, since, params["sample"], run_id, period=params["period"])

    rebuild_final_bills()
