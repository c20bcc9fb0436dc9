"""## Prove that nothing was lost on the way

**What it bills.** Nothing. Every day it compares the same usage at each step: raw events, quarter-hours, rated usage,
bill lines, the ledger, and what Stripe itself says. Finance reads the result in `marts.fct_reconciliation`.

**When it is red.** `differences_are_zero` names the team, period and meter, and the step at which the number changes.
Usage that Stripe is still counting (`settling`) is no difference yet. What each step means and what to do about it:
`docs/runbooks/reconcile_with_stripe.md`.

**Safe to run again?** Always: it reads, and writes only its own report.
"""

from airflow.sdk import DAG, ExceptionRetryPolicy, RetryAction, RetryRule
from house import DEFAULTS, Pool, Tag
from operators.metering_task import metering_task
from operators.transform import TransformOperator

# A difference does not go away by looking again.
FINAL = ExceptionRetryPolicy(
    rules=[RetryRule(exception="metering.quality.differences.DifferenceError", action=RetryAction.FAIL)]
)

with DAG(
    dag_id="reconcile_with_stripe",
    description="Compares usage at every step from raw events to Stripe.",
    doc_md=__doc__,
    schedule="30 4 * * *",
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULTS,
    tags=[Tag.STRIPE.value, Tag.FINANCE.value],
):

    @metering_task(pool=Pool.STRIPE_API.value)
    def read_stripe(connection):
        """Read Stripe's total of each team, meter and period that can still change, beside our ledger."""
        from metering import submission

        return submission.reconcile(connection)

    compare = TransformOperator(
        task_id="compare_steps",
        select="tag:finance",
        doc_md="One row a team, period and meter: the usage at every step, and each difference to the one before.",
    )

    @metering_task(retry_policy=FINAL)
    def differences_are_zero(connection):
        """Fail, naming them, where steps differ."""
        from metering.quality import differences

        return differences.require_zero(connection)

    read_stripe() >> compare >> differences_are_zero()
