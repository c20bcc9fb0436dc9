"""Conformance: cases of other systems, run through the real way from events to bills, and compared to the last digit.

A case becomes a team with a meter, a plan and events of its own. All cases land, are metered and rated together, by the
landing, the catalog and the dbt models that bill real teams; what they came to is read from the marts. What a case says
in its own words is mapped to the product's parameters in `pricing`, `aggregation` and `correction`; nothing is computed
here that the product computes.
"""

from metering.conformance.cases import Case, load
from metering.conformance.outcome import Outcome, Status
from metering.conformance.runner import run, run_apart

__all__ = ["Case", "Outcome", "Status", "load", "run", "run_apart"]
