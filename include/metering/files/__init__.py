"""Usage from files: CSV, JSON lines, Parquet or access logs, read by a map, landed as what comes over HTTP."""

from metering.files.importer import Interrupted, import_file
from metering.files.mapping import Mapping
from metering.files.tally import Tally

__all__ = ["Interrupted", "Mapping", "Tally", "import_file"]
