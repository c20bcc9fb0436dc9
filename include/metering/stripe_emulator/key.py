"""API keys. The emulator takes test keys only: a live key that ends up here is a mistake worth stopping."""

import base64
import binascii
import re

from metering.stripe_emulator.errors import StripeError

_TEST_KEY = re.compile(r"sk_test_[A-Za-z0-9_]+")


def presented(authorization: str | None) -> str | None:
    """The key of a Bearer or Basic ``Authorization`` header; None when there is none."""
    scheme, _, credentials = (authorization or "").partition(" ")
    if scheme.lower() == "bearer":
        return credentials.strip() or None
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(credentials, validate=True).decode().partition(":")[0] or None
        except (binascii.Error, UnicodeDecodeError):
            return None
    return None


def check(authorization: str | None, only: str | None) -> None:
    """Raise Stripe's 401 unless a test key is presented, and the right one where ``only`` names it."""
    key = presented(authorization)
    if key is None:
        raise StripeError(
            401,
            "You did not provide an API key. You need to provide your API key in the Authorization header, using "
            "Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY').",
        )
    if key.startswith(("sk_live_", "rk_live_")):
        raise StripeError(401, f"A live key was sent to the emulator, which takes test keys only: {_hidden(key)}")
    if not _TEST_KEY.fullmatch(key) or (only is not None and key != only):
        raise StripeError(401, f"Invalid API Key provided: {_hidden(key)}")


def _hidden(key: str) -> str:
    return f"{key[:8]}{'*' * max(len(key) - 12, 4)}{key[-4:] if len(key) > 12 else ''}"
