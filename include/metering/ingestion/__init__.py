"""How usage events come in: over HTTP (the service in this package) and from files (`metering.files`), by one way."""
