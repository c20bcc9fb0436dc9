"""Prepaid credits: grants are rows that are added and never changed; what bills draw is computed with the bills.

Bills draw in the order of their periods, of the credits that expire first before the others, and never below zero. The
drawing of an open bill moves with it; that of a final one stands on its lines of kind credit.
"""

from metering.credits.grants import Grant, grant, left

__all__ = ["Grant", "grant", "left"]
