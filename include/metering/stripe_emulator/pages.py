"""Stripe's v1 lists: cursors, a limit of 1 to 100, and a default of 10 that makes a short total look believable."""

from metering.stripe_emulator.errors import Json, bad_request

DEFAULT_LIMIT = 10
MAX_LIMIT = 100


def limit_of(parameters: Json) -> int:
    """The page size asked for, or the default."""
    limit: int = parameters.get("limit", DEFAULT_LIMIT)
    if not 1 <= limit <= MAX_LIMIT:
        word = "greater than or equal to 1" if limit < 1 else f"less than or equal to {MAX_LIMIT}"
        raise bad_request(f"Invalid integer: limit must be {word}", code="parameter_invalid_integer", param="limit")
    return limit


def page(items: list[Json], parameters: Json, url: str) -> Json:
    """One page of ``items``, which are newest first and each have an ``id``."""
    limit = limit_of(parameters)
    after, before = parameters.get("starting_after"), parameters.get("ending_before")
    if after is not None and before is not None:
        raise bad_request("You cannot use both starting_after and ending_before.", param="starting_after")
    if before is not None:
        earlier = items[: _position(items, before, "ending_before")]
        shown, more = earlier[-limit:], len(earlier) > limit
    else:
        rest = items if after is None else items[_position(items, after, "starting_after") + 1 :]
        shown, more = rest[:limit], len(rest) > limit
    return {"object": "list", "url": url, "has_more": more, "data": shown}


def _position(items: list[Json], cursor: str, param: str) -> int:
    for position, item in enumerate(items):
        if item["id"] == cursor:
            return position
    raise bad_request(f"No such object: '{cursor}'", code="resource_missing", param=param)
