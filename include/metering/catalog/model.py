"""What a catalog file says, as typed and checked values.

    meters:
      - {meter: api_calls, name: API calls, event: api_request, aggregation: sum, unit: request, dimensions: [endpoint]}
    plans:
      - plan: standard-usd
        name: Standard
        prices:
          - price: standard-usd/api-search
            name: Search
            meter: api_calls
            currency: USD
            match: {endpoint: search}
            versions:
              - effective_from: 2025-01-01T00:00:00Z
                model: graduated
                charge_unit: request
                tiers: [{up_to: 10000, unit_amount: 0}, {up_to: 100000, unit_amount: 0.001}, {unit_amount: 0.0008}]
    teams:
      - team: acme
        name: Acme
        time_zone: Asia/Kathmandu
        subscription: {plan: standard-usd, currency: USD, anchor_day: 1, starts: 2026-09-01, ends: null}
        alerts: [{alert: budget, amount: 100, severity: soft, channels: [log, {webhook: "https://example.org/alerts"}]}]

Amounts are in the currency's major unit. Numbers may be written with or without quotes: none becomes a float.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError

from metering.catalog import checks, document
from metering.errors import BillingError

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]


def _decimal(value: object) -> object:
    """Decimals come as text or whole numbers. A float has already lost what was written."""
    if isinstance(value, bool | float):
        raise ValueError("write the number as text, such as '0.001'")
    return value


Amount = Annotated[Decimal, BeforeValidator(_decimal), Field(max_digits=38, decimal_places=12, allow_inf_nan=False)]


def _on_a_quarter_hour(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError("has no time zone: end it with Z or an offset")
    moment = moment.astimezone(UTC)
    if moment.minute % 15 or moment.second or moment.microsecond:
        raise ValueError("is not on a quarter of an hour, the smallest time that usage is added up for")
    return moment


Moment = Annotated[datetime, AfterValidator(_on_a_quarter_hour)]


def _date_or_moment(value: object) -> object:
    """A date stays one (midnight where the subscriber is); anything else must be a moment."""
    if isinstance(value, str) and len(value) == 10:
        return date.fromisoformat(value)
    return value


class Part(BaseModel):
    """What all parts of a catalog have in common: they are values, and an unknown field is a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)


class Meter(Part):
    """What is measured: which events, how they are aggregated, by which properties usage is told apart.

    `filters` lists, for a property, the values that count. `multiplier` is applied to each value before it is
    aggregated; `rounding` to what was measured in a window or period, to `precision` digits after the point (negative:
    before it). `bucket` is of bucketed meters, `operation_property` of unique counts: where it says `remove`, the value
    goes.
    """

    meter: Text
    name: Text
    event: Text
    aggregation: Text
    unit: Text
    dimensions: tuple[Text, ...] = ()
    value_property: Text | None = None
    filters: Mapping[Text, Annotated[tuple[str, ...], Field(min_length=1)]] = {}
    multiplier: Amount | None = None
    bucket: Literal["hour", "day"] | None = None
    operation_property: Text | None = None
    rounding: Literal["round", "up", "down"] | None = None
    precision: Annotated[int, Field(ge=-12, le=12)] | None = None
    allow_negative: bool = False

    @property
    def parameters(self) -> dict[str, str | int]:
        """What not every meter has, as it is kept: only what was said."""
        said: dict[str, str | int | None] = {
            "multiplier": None if self.multiplier is None else format(self.multiplier.normalize(), "f"),
            "bucket": self.bucket,
            "operation_property": self.operation_property,
            "rounding": self.rounding,
            "precision": (self.precision or 0) if self.rounding else None,
        }
        return {name: value for name, value in said.items() if value is not None}


class Tier(Part):
    """Over the tier before (`over`, which may be left out), up to and including `up_to` (None: without end)."""

    over: Amount | None = None
    up_to: Amount | None = None
    unit_amount: Amount = Decimal(0)
    flat_amount: Amount = Decimal(0)


class PriceVersion(Part):
    """A price from `effective_from` (UTC) until the next version."""

    effective_from: Moment
    model: Text
    charge_unit: Text
    unit_divisor: Amount = Decimal(1)
    per_period_hour: bool = False
    charge_zero_flat: bool = True
    tiers: Annotated[tuple[Tier, ...], Field(min_length=1)]


class Price(Part):
    """What one meter's usage costs, or the part of it whose dimensions are those of `match`."""

    price: Text
    name: Text
    meter: Text
    currency: Text
    match: Mapping[Text, str] = {}
    versions: Annotated[tuple[PriceVersion, ...], Field(min_length=1)]


class Plan(Part):
    """Prices that go together."""

    plan: Text
    name: Text
    prices: tuple[Price, ...] = ()


class Subscription(Part):
    """What a team is billed by. `starts` and `ends` are local dates (midnight in `time_zone`) or moments.

    `plan_from` says since when the plan counts, where a subscription changes plans; it is `starts` otherwise.
    """

    plan: Text
    currency: Text
    anchor_day: Annotated[int, Field(ge=1, le=31)] = 1
    starts: Annotated[date | datetime, BeforeValidator(_date_or_moment)]
    ends: Annotated[date | datetime | None, BeforeValidator(_date_or_moment)] = None
    plan_from: Annotated[date | datetime | None, BeforeValidator(_date_or_moment)] = None
    time_zone: Text | None = None


class Webhook(Part):
    """Where an alert is posted to."""

    webhook: Annotated[str, StringConstraints(pattern=r"^https?://", max_length=2000)]


class Alert(Part):
    """When to warn: the open bill reaches `amount` (in its currency), or the usage of `meter` reaches `quantity`."""

    alert: Text
    amount: Annotated[Amount, Field(gt=0)] | None = None
    quantity: Annotated[Amount, Field(gt=0)] | None = None
    meter: Text | None = None
    severity: Literal["soft", "hard"] = "soft"
    channels: Annotated[tuple[Literal["log"] | Webhook, ...], Field(min_length=1)] = ("log",)
    active: bool = True


class Team(Part):
    """Who is billed."""

    team: Text
    name: Text
    time_zone: Text
    subscription: Subscription | None = None
    alerts: tuple[Alert, ...] = ()

    @property
    def subscription_zone(self) -> str:
        """The IANA zone of the team's billing periods."""
        return (self.subscription.time_zone if self.subscription else None) or self.time_zone

    def moment(self, value: date | datetime) -> datetime:
        """A date or moment of the subscription in UTC; a date is the midnight with which it begins in the zone."""
        if not isinstance(value, datetime):
            value = datetime(value.year, value.month, value.day, tzinfo=ZoneInfo(self.subscription_zone))
        return value.astimezone(UTC)


class Catalog(Part):
    """A whole catalog: everything that its parts name is in it."""

    meters: tuple[Meter, ...] = ()
    plans: tuple[Plan, ...] = ()
    teams: tuple[Team, ...] = ()

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read and check a file; raises `BillingError` that names each mistake by file, line, place and reason."""
        source = document.read(Path(path))
        return cls.read(source.content, source)

    @classmethod
    def read(cls, content: object, source: document.Document | None = None) -> Self:
        """Check a catalog that is already in memory, in the shape of the file; raises `BillingError` as `load` does."""
        source = source or document.Document("the catalog", content)
        try:
            catalog = cls.model_validate(content)
        except ValidationError as error:
            # A list whose only item is wrong is also said to be too short: what is wrong inside says enough.
            errors = error.errors(include_url=False)
            inside = {e["loc"][:length] for e in errors for length in range(len(e["loc"]))}
            raise _mistakes(source, [(e["loc"], _reason(e)) for e in errors if e["loc"] not in inside]) from error
        found = list(checks.check(catalog))
        if found:
            raise _mistakes(source, found)
        return catalog


def _mistakes(source: document.Document, found: Iterable[checks.Mistake]) -> BillingError:
    lines = [f"{source.place(location)}: {reason}" for location, reason in found]
    if len(lines) == 1:
        return BillingError(f"{lines[0]}.", "Mend it and apply the file again; nothing was changed.")
    shown = ".\n".join(lines[:20])
    return BillingError(
        f"{source.name} has {len(lines)} mistakes.\n{shown}.",
        "Mend them and apply the file again; nothing was changed.",
    )


def _reason(error: Any) -> str:
    """What pydantic found, as a person would say it."""
    match error["type"]:
        case "missing":
            return "is missing"
        case "extra_forbidden":
            return "is not a field that is known here"
        case "value_error":
            return str(error["ctx"]["error"])
        case "decimal_max_places":
            return f"{error['input']} has more than 12 decimals"
        case _:
            return f"{error['msg'][0].lower()}{error['msg'][1:]}, and it is {error['input']!r}"
