"""What a quantity costs, exactly as Stripe documents it, rounded once to what its currency can be charged in."""

from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP, Context, Decimal

from metering.stripe_emulator.errors import Json

# Wide enough that nothing is rounded before the end.
_EXACT = Context(prec=200)

# Amounts are in thousandths here, but only in whole hundredths.
_THREE_DECIMALS = frozenset({"bhd", "jod", "kwd", "omr", "tnd"})
# Written with two decimals that are always zero.
_TWO_ZERO_DECIMALS = frozenset({"isk", "ugx"})


def step(currency: str) -> int:
    """The smallest amount of a currency, in its minor unit as the API writes it."""
    if currency in _THREE_DECIMALS:
        return 10
    return 100 if currency in _TWO_ZERO_DECIMALS else 1


def amount(price: Json, tiers: list[Json] | None, units: Decimal) -> int:
    """The amount of a line in minor units. ``units`` is not negative."""
    return rounded(exact_amount(price, tiers, units), price["currency"])


def rounded(exact: Decimal, currency: str) -> int:
    """An exact amount as it is billed: half away from zero, to the currency's step."""
    size = Decimal(step(currency))
    steps = _EXACT.divide(exact, size).quantize(Decimal(1), ROUND_HALF_UP, context=_EXACT)
    return int(steps * size)


def exact_amount(price: Json, tiers: list[Json] | None, units: Decimal) -> Decimal:
    """The amount in minor units before it is rounded."""
    if tiers is None:
        return _EXACT.multiply(_transformed(units, price["transform_quantity"]), Decimal(price["unit_amount_decimal"]))
    return _volume(tiers, units) if price["tiers_mode"] == "volume" else _graduated(tiers, units)


def _transformed(units: Decimal, transform: Json | None) -> Decimal:
    if transform is None:
        return units
    packages = _EXACT.divide(units, Decimal(transform["divide_by"]))
    return packages.to_integral_value(ROUND_CEILING if transform["round"] == "up" else ROUND_FLOOR)


def _volume(tiers: list[Json], units: Decimal) -> Decimal:
    """All units at the price of the tier that the whole quantity falls in."""
    tier = next(one for one in tiers if one["up_to"] is None or units <= one["up_to"])
    return _priced(tier, units)


def _graduated(tiers: list[Json], units: Decimal) -> Decimal:
    """Each unit at the price of its own tier, and the flat fee of each tier that is reached: the first always is."""
    total, bound = Decimal(0), Decimal(0)
    for number, tier in enumerate(tiers):
        if number > 0 and units <= bound:
            break
        top = units if tier["up_to"] is None else min(units, Decimal(tier["up_to"]))
        total = _EXACT.add(total, _priced(tier, top - bound))
        bound = top if tier["up_to"] is None else Decimal(tier["up_to"])
    return total


def _priced(tier: Json, units: Decimal) -> Decimal:
    flat = Decimal(tier["flat_amount_decimal"] or 0)
    return _EXACT.add(flat, _EXACT.multiply(units, Decimal(tier["unit_amount_decimal"] or 0)))
