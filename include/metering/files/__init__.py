"""Usage from files: CSV, JSON lines, Parquet or access logs, read by a map, landed as what comes over HTTP."""

from metering.files.importer import import_file
from metering.files.mapping import Mapping
from metering.files.tally import Tally

__all__ = ["Mapping", "Tally", "import_file"]
