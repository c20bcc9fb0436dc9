"""The routes of the reading side: each module's `OPERATIONS` are listed in `metering.ingestion.app`."""
