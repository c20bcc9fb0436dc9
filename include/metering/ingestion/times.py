"""The times of many events, read at once.

Only what is surely right is read here: RFC 3339 in UTC, of this century, with `T` and `Z` or `+00:00`. Everything else
is left to `metering.ingestion.validation`, which knows all spellings and says what is wrong. A property test holds the
one to the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

UNREAD = -1

# More at once would have the product of matrices wake threads, which takes longer than the product.
_AT_ONCE = 1_000

_FROM, _UNTIL = 2000, 2100
# Every time is brought to this shape: to the microsecond, without its zone.
_SHAPE = "0000-00-00T00:00:00.000000"
_NONE = "." * len(_SHAPE)
_DIGITS = np.array([place for place, sign in enumerate(_SHAPE) if sign == "0"])
_SIGNS = np.array([place for place, sign in enumerate(_SHAPE) if sign != "0"])
_PATTERN = np.frombuffer(_SHAPE.encode(), np.uint8)
_EXPECTED = _PATTERN[_SIGNS]
_ENDS = [np.frombuffer(end, np.uint8) for end in (b"Z", b"+00:00")]
# Year, month, day, hour, minute, second, microsecond, each as a sum of digits times powers of ten.
_WEIGHTS = np.zeros((len(_DIGITS), 7), np.float64)
for _column, (_start, _end) in enumerate(((0, 4), (4, 6), (6, 8), (8, 10), (10, 12), (12, 14), (14, 20))):
    _WEIGHTS[_start:_end, _column] = 10.0 ** np.arange(_end - _start - 1, -1, -1)

_MONTHS = np.arange(f"{_FROM}-01", f"{_UNTIL + 1}-01", dtype="datetime64[M]")
_FIRST_DAYS = _MONTHS.astype("datetime64[D]").astype(np.int64) - np.datetime64("2000-01-01", "D").astype(np.int64)
_DAYS = np.diff(_FIRST_DAYS, append=_FIRST_DAYS[-1] + 31)
_LOWEST = np.array([_FROM, 1, 1, 0, 0, 0, 0])
_HIGHEST = np.array([_UNTIL, 12, 31, 23, 59, 59, 999_999])
# What a time that ends in Z is filled up with, by its length without the Z.
_FILL = {19: ".000000"} | {size: "0" * (len(_SHAPE) - size) for size in range(21, len(_SHAPE) + 1)}


def read(times: Sequence[str | None]) -> list[int]:
    """Each time in microseconds since 2000-01-01 UTC; `UNREAD` where it has to be looked at more closely."""
    text = _alike(times)
    if text is None:
        joined = "".join([_NONE if time is None else _shaped(time) for time in times])
        if not joined.isascii():
            return [UNREAD] * len(times)
        text = np.frombuffer(joined.encode(), np.uint8).reshape(len(times), len(_SHAPE))
    found: list[int] = _read(text).tolist()
    return found


def read_alike(text: NDArray[np.uint8]) -> NDArray[np.int64] | None:
    """The same of times that are all as long, each a row of bytes; None where they don't end alike."""
    shaped = _end_alike(text)
    if shaped is None:
        return None
    return _read(shaped)


def _read(text: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Times in the shape."""
    if len(text) > _AT_ONCE:
        return np.concatenate([_read(text[first : first + _AT_ONCE]) for first in range(0, len(text), _AT_ONCE)])
    digits = text[:, _DIGITS] - np.uint8(48)  # what comes before "0" wraps around to more than 9
    parts = (digits.astype(np.float64) @ _WEIGHTS).astype(np.int64)
    right: NDArray[np.bool_] = (digits <= 9).all(axis=1) & (text[:, _SIGNS] == _EXPECTED).all(axis=1)
    right &= ((parts >= _LOWEST) & (parts <= _HIGHEST)).all(axis=1)
    if not right.all():
        parts[~right] = _LOWEST
    month = (parts[:, 0] - _FROM) * 12 + parts[:, 1] - 1
    right &= parts[:, 2] <= _DAYS[month]
    minutes = ((_FIRST_DAYS[month] + parts[:, 2] - 1) * 24 + parts[:, 3]) * 60 + parts[:, 4]
    moments = (minutes * 60 + parts[:, 5]) * 1_000_000 + parts[:, 6]
    moments[~right] = UNREAD
    found: NDArray[np.int64] = moments
    return found


def _alike(times: Sequence[str | None]) -> NDArray[np.uint8] | None:
    """All times in the shape, where they are all as long and end alike, as one sender's mostly do."""
    if None in times:
        return None
    texts = cast("Sequence[str]", times)  # there is no None; a check of each would cost more than all the rest
    joined = "".join(texts).encode()
    size = len(texts[0])
    if len(joined) != size * len(texts) or len(set(map(len, texts))) != 1:
        return None
    return _end_alike(np.frombuffer(joined, np.uint8).reshape(len(times), size))


def _end_alike(text: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    size = text.shape[1]
    for end in _ENDS:
        whole = size - len(end)
        if (whole == 19 or 21 <= whole <= len(_SHAPE)) and (text[:, whole:] == end).all():
            shaped = np.tile(_PATTERN, (len(text), 1))
            shaped[:, :whole] = text[:, :whole]
            return shaped
    return None


def _shaped(time: str) -> str:
    """Bring a time to the shape; whatever comes out is of its length."""
    if time[-1:] == "Z":
        whole = time[:-1]
    elif time[-6:] == "+00:00":
        whole = time[:-6]
    else:
        return _NONE
    fill = _FILL.get(len(whole))
    return _NONE if fill is None else whole + fill
