"""Bills as of any moment: what was to be paid by what was known then, what changed it since, which events are under it.

Each reads the views that today's bills are made of, in a session that says which moment it asks as of: there is no
second calculation of a bill.
"""

from metering.bills.bill import Bill, bill
from metering.bills.known import known_team
from metering.bills.lines import Line, Tier

__all__ = ["Bill", "Line", "Tier", "bill", "known_team"]
