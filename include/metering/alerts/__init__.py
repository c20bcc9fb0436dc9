"""Alerts on open bills: triggered from the marts, delivered to the log and to webhooks."""

from metering.alerts.delivery import deliver
from metering.alerts.evaluation import evaluate

__all__ = ["deliver", "evaluate"]
