"""The parts of an expected total, compared with rated tiers and lines where the product has such a figure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from metering.conformance.cases import number
from metering.conformance.trial import ZERO, Difference, Reading

Figure = Callable[[Sequence[Mapping[str, Any]]], Decimal]
# Figures of one tier, and of all tiers together.
TIER: dict[str, Figure] = {
    "units": lambda tiers: _sum(tiers, "tier_quantity"),
    "amount_units": lambda tiers: _sum(tiers, "usage_amount"),
    "amount": lambda tiers: _sum(tiers, "usage_amount"),
    "flat_fee": lambda tiers: _sum(tiers, "fixed_amount"),
    "total": lambda tiers: _sum(tiers, "usage_amount") + _sum(tiers, "fixed_amount"),
}
WHOLE: dict[str, Figure] = {
    "paid_units": lambda tiers: _sum([tier for tier in tiers if tier["tier"] > 0], "tier_quantity"),
    "billed_units": lambda tiers: _sum([tier for tier in tiers if tier["tier"] > 0], "billed_units"),
    "percent_total": lambda tiers: _sum(tiers, "usage_amount"),
    "fixed_total": lambda tiers: _sum(tiers, "fixed_amount"),
    "amount_units": lambda tiers: _sum(tiers, "usage_amount"),
    "flat_fee": lambda tiers: _sum(tiers, "fixed_amount"),
}
NAMES = ("tier", "bucket", "window")


def _sum(tiers: Sequence[Mapping[str, Any]], column: str) -> Decimal:
    return sum((tier[column] for tier in tiers), ZERO)


def not_compared(parts: Sequence[Mapping[str, Any]], *, phases: int) -> list[str]:
    """Which figures of a breakdown the product has no place for."""
    if phases > 1:
        return ["expected_breakdown"] if parts else []
    found: set[str] = set()
    for part in parts:
        for name in part:
            if name in NAMES or name in ("min_spend_trueup", "invoice_fees_cents") or not _is_number(part[name]):
                continue
            if "tier" in part and name in TIER:
                continue
            if "tier" not in part and name in WHOLE and len(parts) == 1:
                continue
            if (
                name == "amount"
                and "tier" not in part
                and len(part) > 1
                and not part.keys() & {"discount", "discounts"}
            ):
                continue
            found.add(name)
    return [f"expected_breakdown: {name}" for name in sorted(found)]


def differences(parts: Sequence[Mapping[str, Any]], reading: Reading, exponent: int) -> list[Difference]:
    """Where a breakdown says another figure than the marts."""
    found: list[Difference] = []
    for part in parts:
        for name, expected, got in _compared(parts, part, reading, exponent):
            if expected != got:
                found.append(Difference(name, expected, got))
    return found


def _compared(
    parts: Sequence[Mapping[str, Any]], part: Mapping[str, Any], reading: Reading, exponent: int
) -> list[tuple[str, Decimal, Decimal]]:
    pairs: list[tuple[str, Decimal, Decimal]] = []
    if "invoice_fees_cents" in part:
        pairs.append(("invoice_fees_cents", number(part["invoice_fees_cents"]), reading.billed().scaleb(exponent)))
    if "min_spend_trueup" in part:
        pairs.append(("min_spend_trueup", number(part["min_spend_trueup"]), reading.total(kind="minimum")))
    if "tier" in part:
        tiers = [tier for tier in reading.tiers if tier["tier"] == int(part["tier"])]
        pairs += [
            (f"tier {part['tier']} {name}", number(part[name]), figure(tiers))
            for name, figure in TIER.items()
            if name in part
        ]
    elif part.keys() & {"bucket", "window"}:
        place = int(part.get("bucket") or part.get("window") or 0)
        names = sorted({tier["part"] for tier in reading.tiers})
        if "amount" in part and place <= len(names) and not any(line["kind"] != "usage" for line in reading.lines):
            tiers = [tier for tier in reading.tiers if tier["part"] == names[place - 1]]
            pairs.append((f"part {place} amount", number(part["amount"]), TIER["total"](tiers)))
    elif len(parts) == 1:
        pairs += [
            (name, number(part[name]), figure(reading.tiers))
            for name, figure in WHOLE.items()
            if name in part and _is_number(part[name])
        ]
    elif "amount" in part and len(part) > 1 and not part.keys() & {"discount", "discounts"}:
        pairs += _of_a_slice(part, reading)
    return pairs


def _of_a_slice(part: Mapping[str, Any], reading: Reading) -> list[tuple[str, Decimal, Decimal]]:
    """What usage of some values of dimensions came to: a line of its own, or a part of one."""
    slice_said = {name: str(value) for name, value in part.items() if name not in ("amount", *NAMES)}
    named = " ".join(f"{name}={value}" for name, value in slice_said.items())
    lines = [line for line in reading.lines if line["dimensions"] == slice_said]
    if lines:
        return [(f"{named} amount", number(part["amount"]), sum((line["exact_amount"] for line in lines), ZERO))]
    tiers = [tier for tier in reading.tiers if tier["slice"] == slice_said]
    return [(f"{named} amount", number(part["amount"]), TIER["total"](tiers))]


def _is_number(value: object) -> bool:
    try:
        Decimal(str(value))
    except ArithmeticError:
        return False
    return True
