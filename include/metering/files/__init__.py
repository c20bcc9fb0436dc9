"""Usage from files: CSV or JSON lines, read by a small map, landed by the same code as what comes over HTTP."""

from metering.files.importer import Tally, import_file
from metering.files.mapping import Mapping

__all__ = ["Mapping", "Tally", "import_file"]
