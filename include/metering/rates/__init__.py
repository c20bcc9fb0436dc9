"""Exchange rates: dated rows with their source, from files in the format of the European Central Bank."""

from metering.rates.ecb import Quotes, read
from metering.rates.load import Loaded, load

__all__ = ["Loaded", "Quotes", "load", "read"]
