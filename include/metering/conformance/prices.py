"""What a case says of a price, as versions of the product's prices.

A model's name says which of the product's models prices a unit; what stands around it (blocks, windows, a minimum, a
commitment) is said by parameters, whichever they are and however they are combined.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from metering.conformance.cases import NotApplicable, Said, number

# Words of a model's name that only announce parameters.
ANNOUNCING = frozenset((
    "split", "max", "min", "spend", "grouped", "filtered", "bucketed", "windowed", "blocks", "two", "three",
    "units", "unit", "conversion", "free", "tier", "tiers", "from", "events", "event", "per", "count",
    "commitment", "overage", "amount", "minimum", "maximum", "charge", "trueup", "highest", "fixed", "many",
    "multi", "price", "discount", "graduated", "volume", "package", "percentage", "standard", "multiplier",
    "dynamic", "capacity", "flat", "fee", "model", "true", "up", "matrix",
    "prorated", "proration", "with", "and", "stairstep",
))  # fmt: skip
# What may stand in `other` of a price; whatever else a filter says is the value of a dimension.
PARAMETERS = frozenset((
    "block_rounding", "capacity_tiers", "commitment_amount", "commitment_units", "default_unit_price", "divide_by",
    "fixed_amount_per_event", "flat_fee", "free_amount", "free_events", "free_units", "max_spend", "min_spend",
    "multiplier", "overage_factor", "package_price", "package_size", "per_event_max", "per_event_min",
    "percentage_discount", "rate_percent", "rounding", "tiers", "true_up", "unit_price", "usage_discount_units",
    "zero_usage_policy",
))  # fmt: skip
_UP = ("up", "ceil", "ceiling", "round_up")
_DOWN = ("down", "floor", "round_down", "truncate")
_NEAREST = ("round", "nearest", "half_up")


@dataclass(frozen=True)
class Words:
    """The name of a model, word by word."""

    model: str

    @classmethod
    def of(cls, model: str) -> Words:
        """Read a name; raises `NotApplicable` for one with words that the product has no model for."""
        found = cls(model)
        unknown = sorted(set(model.split("_")) - ANNOUNCING)
        if unknown:
            raise NotApplicable(f"the product has no model {model} ({', '.join(unknown)})")
        return found

    def __contains__(self, word: str) -> bool:
        return word in self.model.split("_")


def base_model(words: Words, said: Said, tiers: Sequence[Mapping[str, Any]]) -> str:
    """The product's model that prices a unit."""
    if "percentage" in words:
        return "graduated_percentage" if "graduated" in words else "percentage"
    for word in ("capacity", "graduated", "volume", "package"):
        if word in words:
            return word
    if "stairstep" in words:
        return "volume"  # the amount of the step that usage reaches
    if "multiplier" in words or "dynamic" in words:
        return "dynamic"
    if "standard" in words or said.has("unit_price", "default_unit_price"):
        return "per_unit"
    if "flat" in words:
        return "flat"
    if said.has("package_size"):
        return "package"
    if tiers:
        return "graduated"
    raise NotApplicable(f"nothing says what a unit costs under the model {words.model}")


def version(model: str, said: Said, tiers: Sequence[Mapping[str, Any]], words: Words) -> dict[str, Any]:
    """A version of a price by the parameters that a case says, each of which is taken from `said`."""
    made: dict[str, Any] = {"model": model}
    _units(made, model, said)
    match model:
        case "per_unit":
            unit_price = said.number("unit_price")
            if unit_price is None:
                unit_price = said.number("default_unit_price")
            if unit_price is None:
                raise NotApplicable("nothing says what a unit costs")
            made["tiers"] = [{"unit_amount": unit_price}]
        case "flat":
            made["tiers"] = [{"flat_amount": said.number("flat_fee") or said.number("unit_price") or Decimal(0)}]
        case "package":
            _package(made, said, words)
        case "percentage":
            _percentage(made, said)
        case "dynamic":
            pass
        case "capacity":
            _capacity(made, said)
        case _:
            made["tiers"] = tiers_of(
                tiers, by_rate=model == "graduated_percentage", in_blocks=said.has("block_rounding")
            )
            rounding = said.take("block_rounding")
            if rounding is not None:
                made["block_rounding"] = _blocks(rounding)
    _zero_usage(made, said)
    _around(made, said)
    return made


def while_it_runs(version: Mapping[str, Any]) -> dict[str, Any]:
    """The price of a line within a period: what is missing to a minimum or a commitment is due with its last line."""
    partly = {name: value for name, value in version.items() if name != "minimum_amount"}
    return {**partly, "true_up": False} if partly.get("true_up") else partly


def tiers_of(
    tiers: Sequence[Mapping[str, Any]], *, by_rate: bool = False, in_blocks: bool = False
) -> list[dict[str, Any]]:
    """Tiers in the product's shape. Usage beyond the last bound takes the last tier."""
    if not tiers:
        raise NotApplicable("the case has no tiers")
    made = []
    for place, tier in enumerate(tiers):
        said = Said(dict(tier), " in a tier")
        gt, lte = said.number("gt"), said.number("lte")
        unit, rate, block = said.number("unit_price"), said.number("rate_percent"), said.number("block_size")
        one: dict[str, Any] = {"flat_amount": said.number("flat_fee") or Decimal(0)}
        if gt is not None:
            one["over"] = gt
        if lte is not None and place < len(tiers) - 1:
            one["up_to"] = lte
        if by_rate:
            one["rate_percent"] = rate if rate is not None else (unit or Decimal(0)) * 100
        else:
            one["unit_amount"] = unit if unit is not None else (rate or Decimal(0)) / 100
        if block is not None and (in_blocks or block != 1):
            one["block_size"] = block
        said.refuse_rest()
        made.append(one)
    return made


def normalized(said: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The tiers of a case: as normalized, or from `from` and `to` where those are continuous."""
    if said.get("tiers_normalized"):
        return list(said["tiers_normalized"])
    made: list[dict[str, Any]] = []
    bound: Decimal | None = Decimal(0)
    for tier in said.get("tiers") or []:
        rest = {name: value for name, value in tier.items() if name not in ("from", "to", "max_blocks")}
        lte = tier.get("to")
        if "gt" not in rest and "lte" not in rest:
            # A tier that begins one unit after the end of the one before begins there for fractions, too.
            rest |= {"gt": None if bound is None else str(bound), "lte": lte}
        bound = None if rest["lte"] is None else number(rest["lte"])
        made.append(rest)
    return made


def _units(made: dict[str, Any], model: str, said: Said) -> None:
    """How usage becomes the units that are charged."""
    divisor = said.number("divide_by")
    if divisor is not None:
        made["unit_divisor"] = divisor
        rounding = str(said.take("rounding") or "ceiling").lower()
        for known, name in ((_UP, "up"), (_DOWN, "down"), (_NEAREST, "round"), (("none", "exact"), None)):
            if rounding in known:
                made["unit_rounding"] = name
                break
        else:
            raise NotApplicable(f"the product rounds converted units up, down or to the nearest, not {rounding}")
    free = (said.number("free_units") or Decimal(0)) + (said.number("usage_discount_units") or Decimal(0))
    if free:
        made["free_units"] = free


def _package(made: dict[str, Any], said: Said, words: Words) -> None:
    size, price = said.number("package_size"), said.number("package_price")
    if size is None:
        raise NotApplicable("nothing says how many units a package holds")
    if price is None:
        if "count" not in words:
            raise NotApplicable("nothing says what a package costs")
        price = Decimal(1)  # packages are counted: what they cost at 1 each
    made["tiers"] = [{"unit_amount": price, "block_size": size}]
    rounding = said.take("rounding")
    if rounding is not None:
        made["block_rounding"] = _blocks(rounding)


def _blocks(rounding: object) -> str:
    text = str(rounding).lower()
    if text in _UP:
        return "up"
    if text in _DOWN:
        return "down"
    raise NotApplicable(f"the product bills blocks and packages that were begun (up) or are full (down), not {text}")


def _percentage(made: dict[str, Any], said: Said) -> None:
    rate = said.number("rate_percent")
    if rate is None:
        raise NotApplicable("nothing says which percentage")
    made["tiers"] = [{"rate_percent": rate}]
    for name, known in (
        ("fixed_amount_per_event", "fixed_per_event"),
        ("free_events", "free_events"),
        ("free_amount", "free_amount"),
        ("per_event_min", "minimum_per_event"),
        ("per_event_max", "maximum_per_event"),
    ):
        value = said.number(name)
        if value is None or (not value and known != "maximum_per_event"):
            continue
        if known == "free_events" and value != int(value):
            raise NotApplicable("events come in whole numbers")
        made[known] = int(value) if known == "free_events" else value


def _capacity(made: dict[str, Any], said: Said) -> None:
    """Tiers by what each unit may reach; usage beyond the last takes the last."""
    tiers = []
    said_tiers = said.take("capacity_tiers") or []
    for place, tier in enumerate(said_tiers):
        one = Said(dict(tier), " in a capacity tier")
        limits = {unit: number(limit) for unit, limit in (one.take("limits") or {}).items() if limit is not None}
        made_tier: dict[str, Any] = {"flat_amount": one.number("price") or Decimal(0)}
        if place < len(said_tiers) - 1:
            made_tier["limits"] = limits
        one.refuse_rest()
        tiers.append(made_tier)
    made |= {"tiers": tiers, "limited_by": "unit"}


def _zero_usage(made: dict[str, Any], said: Said) -> None:
    policy = said.take("zero_usage_policy")
    if policy is None:
        return
    text = str(policy).lower()
    if text == "charge_first_tier_flat":
        made["charge_zero_flat"] = True
    elif any(word in text for word in ("no_", "none", "not", "zero", "free", "skip", "without")):
        made["charge_zero_flat"] = False
    else:
        raise NotApplicable(f"the product knows no policy {policy} for zero usage")


def _around(made: dict[str, Any], said: Said) -> None:
    """What stands around a price."""
    for name, known in (
        ("min_spend", "minimum_amount"),
        ("max_spend", "maximum_amount"),
        ("percentage_discount", "discount_percent"),
        ("multiplier", "multiplier"),
        ("commitment_units", "commitment_units"),
        ("commitment_amount", "commitment_amount"),
    ):
        value = said.number(name)
        if value is not None:
            made[known] = value
    factor, true_up = said.number("overage_factor"), said.flag("true_up")
    if "commitment_units" in made or "commitment_amount" in made:
        made["overage_factor"] = Decimal(1) if factor is None else factor
        made["true_up"] = bool(true_up)
