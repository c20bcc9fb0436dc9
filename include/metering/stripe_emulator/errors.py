"""Refusals in the words and shape of Stripe's API."""

from typing import Any

Json = dict[str, Any]


class StripeError(Exception):
    """A reply that is not a success.

    ``code`` and ``param`` are left out of the body when None, as Stripe does: a v1 duplicate, for one, has no code.
    ``commits`` says that what was done up to the refusal stands: a charge that was declined has been tried.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        headers: dict[str, str] | None = None,
        commits: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind
        self.code = code
        self.param = param
        self.headers = headers or {}
        self.commits = commits

    def body(self, api: str) -> Json:
        """The error as ``api`` ("v1" or "v2") writes it: v2 always has a code, v1 often none."""
        if api == "v2":
            error: Json = {"type": self.kind, "code": self.code or self.kind, "message": self.message}
            return {"error": error}
        error = {"type": self.kind, "message": self.message}
        if self.code is not None:
            error["code"] = self.code
        if self.param is not None:
            error["param"] = self.param
        return {"error": error}


def bad_request(message: str, *, code: str | None = None, param: str | None = None) -> StripeError:
    """A 400 for parameters that cannot be accepted."""
    return StripeError(400, message, code=code, param=param)


def no_such(thing: str, identity: str, *, status: int = 404, param: str = "id") -> StripeError:
    """A resource that does not exist: 404 when the path names it, 400 when a parameter does."""
    return StripeError(status, f"No such {thing}: '{identity}'", code="resource_missing", param=param)


def server_error() -> StripeError:
    """A 500. By Stripe's own wording its outcome is indeterminate."""
    return StripeError(
        500,
        "An unknown error occurred. If you were charged or not, we cannot say: treat the outcome as unknown.",
        kind="api_error",
        code="internal_error",
    )


def key_in_use(key: str) -> StripeError:
    """A 409 for a request whose idempotency key is still executing."""
    return StripeError(
        409,
        "There is currently another in-progress request using this idempotency key (that probably means you "
        f"submitted twice, and the other request is still going through): {key}. Please try again later.",
        code="idempotency_key_in_use",
    )


def too_many_concurrent() -> StripeError:
    """A 409 for a second call in flight for the same customer and meter."""
    return StripeError(
        409,
        "Another meter event for this customer and meter is being processed. Please try again later.",
        code="too_many_concurrent_requests",
    )
