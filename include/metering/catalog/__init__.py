"""The catalog: meters, plans with prices and their versions, teams with subscriptions.

A catalog is a folder of YAML files (or one file) that people write and review. `Catalog.load` reads it and names every
mistake by file, line, place and reason; `apply` brings the tables of the billing schema to what it says, and says whom
it is about. Applying it again changes nothing.
"""

from metering.catalog.apply import Change, Changes, apply
from metering.catalog.effects import Difference, Effect
from metering.catalog.model import Catalog

__all__ = ["Catalog", "Change", "Changes", "Difference", "Effect", "apply"]
