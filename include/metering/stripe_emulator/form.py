"""Stripe's form encoding: ``payload[value]=5`` is a value inside ``payload``."""

from urllib.parse import parse_qsl

from metering.stripe_emulator.errors import Json, bad_request


def decode(text: str) -> Json:
    """Nested dictionaries of strings. An array is a dictionary too (``types[0]=a`` or ``types[]=a``): the shape of the
    request, not the encoding, says which of them is a list."""
    decoded: Json = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        if "[" not in name:
            decoded[name] = value
            continue
        *way, last = name.replace("]", "").split("[")
        place: Json = decoded
        for key in way:
            inner = place.setdefault(key, {})
            if not isinstance(inner, dict):
                raise bad_request(f"Invalid parameter: {name} is both a value and a hash", param=way[0])
            place = inner
        place[last or str(len(place))] = value
    return decoded
