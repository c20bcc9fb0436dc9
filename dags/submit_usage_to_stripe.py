"""## Send Stripe the usage it bills

**What it bills.** The difference between what Stripe should have of each team, meter and day
(`marts.fct_stripe_usage`) and what it has already. Teams on hold are left out until they are released; all others go
on.

**When it is red.** Stripe could not be reached, or refused the key: the log says which, and the next run sends what
is still owed. A submission that Stripe refuses makes nothing red: it stands with Stripe's reason in
`billing.stripe_submissions` or its window in `billing.stripe_windows`. Step by step:
`docs/runbooks/submit_usage_to_stripe.md`.

**Safe to run again?** Always: every submission is named after what it says, so Stripe counts it once, and one whose
outcome is unknown is looked up before anything else is sent for the same window.
"""

from airflow.sdk import DAG
from house import DEFAULTS, Pool, Tag
from operators.metering_task import metering_task

with DAG(
    dag_id="submit_usage_to_stripe",
    description="Plans, sends and confirms what Stripe still lacks.",
    doc_md=__doc__,
    schedule="20 * * * *",
    catchup=False,
    max_active_runs=1,
    default_args={**DEFAULTS, "pool": Pool.STRIPE_API.value},
    tags=[Tag.STRIPE.value, Tag.BILLING.value],
):

    @metering_task()
    def plan(connection):
        """Make customers and meters that Stripe lacks, and a submission for each difference that can be sent."""
        from metering import submission

        return {**submission.prepare(connection), **submission.plan(connection)}

    @metering_task()
    def submit(connection):
        """Send what is due, at the pace that Stripe allows; it begins within a minute, by chance."""
        from metering import submission

        return submission.submit(connection, scheduled=True)

    @metering_task()
    def resolve(connection):
        """Find out about submissions without a known outcome, and confirm what Stripe's own totals show."""
        from metering import submission

        return submission.resolve(connection)

    plan() >> submit() >> resolve()
