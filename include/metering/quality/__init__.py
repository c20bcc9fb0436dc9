"""Quality gates at the two borders: what arrived, and what is about to be billed.

A gate is one task and one Great Expectations validation. Its batch is a summary that the database makes in one pass;
each check is a named, described statement over that batch which returns the rows that should not be there. A critical
finding holds the teams it names, with the reason, and everybody else goes on; one that no team can answer for stops
the run.
"""

from metering.quality.arrivals import gate_arrivals
from metering.quality.bills import gate_bills
from metering.quality.gate import GateError

__all__ = ["GateError", "gate_arrivals", "gate_bills"]
