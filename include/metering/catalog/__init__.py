"""The catalog: meters, plans with prices and their versions, teams with subscriptions.

A catalog is a YAML file that people write and review. `Catalog.load` reads it and names every mistake by file, line,
place and reason; `apply` brings the tables of the billing schema to what it says. Applying it again changes nothing.
"""

from metering.catalog.apply import Change, Changes, apply
from metering.catalog.model import Catalog

__all__ = ["Catalog", "Change", "Changes", "apply"]
