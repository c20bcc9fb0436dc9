"""Loaded by schemathesis: how to send a media type that it does not know."""

import schemathesis

schemathesis.serializer.alias(["application/x-ndjson"], "text/plain")
