"""What a pricing case expects its price and usage to come to, and how that is compared with what was billed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any

from metering.catalog.currencies import EXPONENTS
from metering.conformance import breakdown
from metering.conformance.cases import Case, NotApplicable, Said, number
from metering.conformance.prices import Words
from metering.conformance.trial import ZERO, Difference, Reading, Trial

WIDE = Context(prec=80, rounding=ROUND_HALF_UP)
AMOUNT_DECIMALS = 24
"""Decimals of the product's amounts before they are rounded to a currency's own."""
# What a unit came to in the end, perhaps rounded to some decimals.
_EFFECTIVE = re.compile(r"effective_unit_amount(?:_rounded_(?P<decimals>\d+))?")


@dataclass
class Expectation:
    """What a case expects, and in which unit and how exactly it says so."""

    total: Decimal
    decimals: int | None
    """To how many decimals it is rounded; None: it is exact."""
    minor: bool
    """Whether it is in the currency's minor unit."""
    kinds: tuple[str, ...] | None
    """The kinds of lines that it is about; None: all."""
    before: Decimal | None
    """What the case says was billed before."""
    exponent: int
    others: dict[str, Decimal]
    parts: Sequence[Mapping[str, Any]]
    usage: Decimal | None

    @classmethod
    def of(cls, case: Case, said: Said, words: Words, currency: str) -> Expectation:
        if case.said.get("expected_total") is None:
            raise NotApplicable("the case says no expected total")
        decimals = said.number("round")
        unit = said.take("unit")
        if unit not in (None, "cents"):
            raise NotApplicable(f"amounts in {unit} aren't known")
        others = {}
        for name in said.fields:
            if name in ("expected_cents", "unrounded") or _EFFECTIVE.fullmatch(name):
                value = said.number(name)
                if value is not None:
                    others[name] = value
        if decimals is not None and str(said.fields.get("rounding", "half_up")) == "half_up":
            said.take("rounding")  # of the amount, and the way in which the product rounds
        usage = case.said.get("usage")
        return cls(
            total=number(case.said["expected_total"]),
            decimals=None if decimals is None else int(decimals),
            minor=unit == "cents",
            kinds=("minimum", "true_up") if "trueup" in words else None,
            before=said.number("previous_billed"),
            exponent=EXPONENTS[currency],
            others=others,
            parts=case.said.get("expected_breakdown") or [],
            usage=number(usage) if usage is not None and "=" not in str(usage) else None,
        )

    def judge(self, made: Trial) -> Callable[[Sequence[Reading]], list[Difference]]:
        """The judge of a trial."""
        made.not_compared = breakdown.not_compared(self.parts, phases=len(made.phases))

        def judged(readings: Sequence[Reading]) -> list[Difference]:
            last = readings[-1]
            before = readings[-2] if len(readings) > 1 else Reading()
            exact = self._of(last, "total") - self._of(before, "total")
            billed = self._of(last, "billed") - self._of(before, "billed")
            got = billed if self.minor or self.decimals == self.exponent else exact
            if self.minor:
                got = got.scaleb(self.exponent)
            elif self.decimals is not None:
                got = _rounded(got, self.decimals)
            expected = self.total
            if not self.minor and any(line["meter"] is None for line in last.lines):
                # What stands around a plan is about its lines as they are billed, each rounded.
                expected, got = _rounded(expected, self.exponent), billed
            found = [] if _same(expected, got) else [Difference("total", self.total, got)]
            if self.before is not None and (was := self._of(before, "billed")) != self.before:
                found.append(Difference("billed before", self.before, was))
            found += self._others(exact, billed)
            if last.quarantined:
                found.append(Difference("events in quarantine", 0, last.quarantined))
            return found + (breakdown.differences(self.parts, last, self.exponent) if len(readings) == 1 else [])

        return judged

    def _of(self, reading: Reading, what: str) -> Decimal:
        amounts = getattr(reading, what)
        return amounts() if self.kinds is None else sum((amounts(kind=kind) for kind in self.kinds), ZERO)

    def _others(self, exact: Decimal, billed: Decimal) -> list[Difference]:
        got: dict[str, Decimal] = {"expected_cents": billed.scaleb(self.exponent), "unrounded": exact}
        for name in self.others:
            match = _EFFECTIVE.fullmatch(name)
            if match:  # of no usage, a unit costs nothing
                each = WIDE.divide(exact, self.usage) if self.usage else ZERO
                got[name] = _rounded(each, int(match["decimals"])) if match["decimals"] else each
        return [
            Difference(name, value, got[name]) for name, value in self.others.items() if not _same(value, got[name])
        ]


def _same(expected: Decimal, got: Decimal) -> bool:
    """Whether amounts are the same to the last digit that they have here."""
    return _rounded(expected, AMOUNT_DECIMALS) == _rounded(got, AMOUNT_DECIMALS)


def _rounded(value: Decimal, decimals: int) -> Decimal:
    return value.quantize(Decimal(1).scaleb(-decimals), rounding=ROUND_HALF_UP, context=WIDE)
