"""Tells people that a task failed for good."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow.sdk import BaseNotifier


class FailureNotifier(BaseNotifier):
    """Tells the log, and the webhook of BILLING_NOTICE_WEBHOOK, which task failed, why, and where its runbook is."""

    def notify(self, context: Mapping[str, Any]) -> None:
        """Called by Airflow with the context of the failed task, after its last try."""
        from metering.alerts import notices

        instance = context["task_instance"]
        notices.tell(
            f"{instance.dag_id}.{instance.task_id} failed.",
            [
                str(context.get("exception") or "The reason is in the task's log."),
                f"Run {instance.run_id}. What to do: docs/runbooks/{instance.dag_id}.md",
            ],
        )
