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

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field, PrivateAttr, StringConstraints, ValidationError

from metering.catalog import checks, document
from metering.catalog.parts import Amount, Part, Text, plain
from metering.catalog.price import Override, PlanTerms, Price, PriceVersion, Tier
from metering.errors import BillingError

__all__ = [
    "Alert", "Catalog", "Meter", "Override", "Plan", "PlanTerms", "Price", "PriceVersion", "Subscription", "Team",
    "Tier", "Webhook",
]  # fmt: skip


def _date_or_moment(value: object) -> object:
    """A date stays one (midnight where the subscriber is); anything else must be a moment."""
    if not isinstance(value, str):
        return value
    try:
        return date.fromisoformat(value) if len(value) == 10 else datetime.fromisoformat(value)
    except ValueError:
        raise ValueError(f"{value} is no date or moment, such as 2026-09-01 or 2026-09-01T00:00:00Z") from None


class Meter(Part):
    """What is measured: which events, how they are aggregated, by which properties usage is told apart."""

    meter: Text
    """Its key, which prices name."""
    name: Text
    """What people call it."""
    event: Text
    """The name of the events that it counts."""
    aggregation: Text
    """How events become a quantity."""
    unit: Text
    """What the values are, such as request or GB-hour."""
    dimensions: tuple[Text, ...] = ()
    """Properties by which usage is told apart, so that prices can differ."""
    value_property: Text | None = None
    """The property that holds the value; left out: the event's quantity."""
    filters: Mapping[Text, Annotated[tuple[str, ...], Field(min_length=1)]] = {}
    """For a property, the values that count; left out: every event of that name."""
    multiplier: Amount | None = None
    """Times which each value is taken before it is aggregated: the conversion of units."""
    bucket: Literal["hour", "day"] | None = None
    """Of bucketed meters: the unit of the team's clock, of which each counts by itself."""
    operation_property: Text | None = None
    """Of unique counts: the property that says remove where the value goes."""
    keep_events: bool = False
    """Of a sum: whether each event is kept apart, so that a price may treat each by itself."""
    rounding: Literal["round", "up", "down"] | None = None
    """How what was measured in a window or period is rounded; round: halves away from zero."""
    precision: Annotated[int, Field(ge=-12, le=12)] | None = None
    """To how many digits after the point it is rounded; negative: before it."""
    allow_negative: bool = False
    """Whether an event may take usage back."""

    @property
    def parameters(self) -> dict[str, str | int | bool]:
        """What not every meter has, as it is kept: only what was said."""
        said: dict[str, str | int | bool | None] = {
            "multiplier": None if self.multiplier is None else plain(self.multiplier),
            "bucket": self.bucket,
            "operation_property": self.operation_property,
            "keep_events": self.keep_events or None,
            "rounding": self.rounding,
            "precision": (self.precision or 0) if self.rounding else None,
        }
        return {name: value for name, value in said.items() if value is not None}


class Plan(Part):
    """Prices that go together."""

    plan: Text
    """Its key, which subscriptions name."""
    name: Text
    """What people call it."""
    prices: tuple[Price, ...] = ()
    """What it costs, meter by meter."""
    terms: tuple[PlanTerms, ...] = ()
    """What stands around all of its prices together."""


Day = Annotated[date | datetime, BeforeValidator(_date_or_moment)]


class PlanChange(Part):
    """A plan, and since when a subscription is on it."""

    plan: Text
    """The key of the plan."""
    since: Day | None = None
    """A date (midnight in the subscription's zone) or a moment; of the first plan it may be left out."""


class Cycle(Part):
    """Billing every so many local days instead of by the month."""

    days: Annotated[int, Field(ge=1, le=3660)]
    """How long a cycle is: 7 is weekly."""
    counted_from: date
    """A day with which a cycle begins."""


class Subscription(Part):
    """What a team is billed by. Its times are local dates (midnight in `time_zone`) or moments."""

    subscription: Text = "main"
    """Its key, where a team has several, one after another."""
    plan: Text | None = None
    """The key of its plan. Give `plans` instead where it has changed or will change."""
    plans: tuple[PlanChange, ...] = ()
    """All plans that it is on, one after another. Within a period, a change splits the lines."""
    currency: Text
    """ISO 4217 code; its bills are in this currency."""
    anchor_day: Annotated[int, Field(ge=1, le=31)] = 1
    """The day of the month on which periods begin; 31 is the last day of a shorter month."""
    starts: Day
    """Its first moment."""
    ends: Day | None = None
    """The moment at which it is over (excluded); left out: it goes on."""
    plan_from: Day | None = None
    """Since when `plan` counts, if that is not `starts`: what the database knows of earlier plans stays."""
    time_zone: Text | None = None
    """IANA name of the zone of its periods; left out: the team's."""
    cycle: Cycle | None = None
    """Periods of so many days, in place of months from the anchor day."""

    @property
    def plan_changes(self) -> tuple[PlanChange, ...]:
        """All plans that the file names, each with its beginning."""
        said = self.plans or ((PlanChange(plan=self.plan, since=self.plan_from),) if self.plan else ())
        return tuple(change if change.since else PlanChange(plan=change.plan, since=self.starts) for change in said)


class Webhook(Part):
    """Where an alert is posted to."""

    webhook: Annotated[str, StringConstraints(pattern=r"^https?://", max_length=2000)]
    """A URL to which the alert is posted as JSON."""


def _log_or_webhook(value: object) -> object:
    """Either, or one reason why it is neither."""
    url = value.get("webhook") if isinstance(value, Mapping) and len(value) == 1 else None
    if value != "log" and not (isinstance(url, str) and url.startswith(("http://", "https://"))):
        raise ValueError(f"should be log, or {{webhook: URL}} with an http or https URL, and it is {value!r}")
    return value


Channel = Annotated[Literal["log"] | Webhook, BeforeValidator(_log_or_webhook)]


class Alert(Part):
    """When to warn: the open bill reaches `amount` (in its currency), or the usage of `meter` reaches `quantity`."""

    alert: Text
    """Its key."""
    amount: Annotated[Amount, Field(gt=0)] | None = None
    """It triggers when the open bill reaches this, in the bill's currency."""
    quantity: Annotated[Amount, Field(gt=0)] | None = None
    """Instead of an amount: when the usage of `meter` reaches this."""
    meter: Text | None = None
    """The meter that `quantity` is of."""
    severity: Literal["soft", "hard"] = "soft"
    """soft, if left out, or hard."""
    channels: Annotated[tuple[Channel, ...], Field(min_length=1)] = ("log",)
    """Where it goes: log, and webhooks."""
    active: bool = True
    """Whether it is watched; no silences it."""


class Team(Part):
    """Who is billed."""

    team: Text
    """The key that events name."""
    name: Text
    """What people call it."""
    time_zone: Text
    """IANA name; the team's hours, days and months are of this zone."""
    subscription: Subscription | None = None
    """What it is billed by."""
    subscriptions: tuple[Subscription, ...] = ()
    """Instead of `subscription`, where there are several, one after another: each with a key of its own."""
    alerts: tuple[Alert, ...] = ()
    """When to warn."""
    overrides: tuple[Override, ...] = ()
    """Prices that are others for this team than for its plan."""

    @property
    def all_subscriptions(self) -> tuple[Subscription, ...]:
        """Its subscriptions, however they were written."""
        return (self.subscription, *self.subscriptions) if self.subscription else self.subscriptions

    def zone_of(self, subscription: Subscription) -> str:
        """The IANA zone of a subscription's billing periods."""
        return subscription.time_zone or self.time_zone

    def moment(self, value: date | datetime, subscription: Subscription) -> datetime:
        """A date or moment of a subscription in UTC; a date is the midnight with which it begins in the zone."""
        if not isinstance(value, datetime):
            value = datetime(value.year, value.month, value.day, tzinfo=ZoneInfo(self.zone_of(subscription)))
        return value.astimezone(UTC)


class Catalog(Part):
    """A whole catalog: everything that its parts name is in it."""

    meters: tuple[Meter, ...] = ()
    """What is measured."""
    plans: tuple[Plan, ...] = ()
    """What it costs."""
    teams: tuple[Team, ...] = ()
    """Who is billed."""
    _source: document.Document | document.Folder | None = PrivateAttr(None)

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read and check a file, or the files of a folder, which are one catalog together.

        Raises `BillingError` that names each mistake by file, line, place and reason.
        """
        source = document.read_all(Path(path))
        if not source.content:
            raise BillingError(
                f"{source.name} is empty: a catalog has meters, plans and teams.",
                "Run `./billing init --preset api` for one to start from; nothing was changed.",
            )
        return cls.read(source.content, source)

    @classmethod
    def read(cls, content: object, source: document.Document | document.Folder | None = None) -> Self:
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
        catalog._source = source
        return catalog

    def place_of_version(self, key: str, effective_from: datetime) -> str:
        """Where the version of a price, or of a team's own (`standard/calls of acme`), stands, by file and line."""
        price_key, _, owner = key.partition(" of ")
        for number, team in enumerate(self.teams if owner else ()):
            for position, own in enumerate(team.overrides if team.team == owner else ()):
                for version, said in enumerate(own.versions if own.price == price_key else ()):
                    if said.effective_from == effective_from:
                        return self._place("teams", number, "overrides", position, "versions", version)
        for plan, price, version in self._versions():
            if self.plans[plan].prices[price].price == price_key:
                found = self.plans[plan].prices[price].versions[version]
                if found.effective_from == effective_from:
                    return self._place("plans", plan, "prices", price, "versions", version)
        return key

    def place_of_terms(self, plan_key: str, effective_from: datetime) -> str:
        """Where the terms of a plan since a moment stand, by file and line; of several currencies, the first."""
        for number, plan in enumerate(self.plans):
            for position, terms in enumerate(plan.terms if plan.plan == plan_key else ()):
                if terms.effective_from == effective_from:
                    return self._place("plans", number, "terms", position)
        return plan_key

    def place_of_team(self, team_key: str) -> str:
        """Where a team stands, by file and line."""
        for number, team in enumerate(self.teams):
            if team.team == team_key:
                return self._place("teams", number)
        return team_key

    def place_of_meter(self, key: str) -> str:
        """Where a meter stands, by file and line."""
        return next(
            (self._place("meters", number) for number, said in enumerate(self.meters) if said.meter == key), key
        )

    def place_of_price(self, key: str) -> str:
        """Where a price stands, by file and line."""
        for number, plan in enumerate(self.plans):
            for position, price in enumerate(plan.prices):
                if price.price == key:
                    return self._place("plans", number, "prices", position)
        return key

    def _versions(self) -> Iterator[tuple[int, int, int]]:
        for plan, said in enumerate(self.plans):
            for price, one in enumerate(said.prices):
                yield from ((plan, price, version) for version in range(len(one.versions)))

    def _place(self, *location: int | str) -> str:
        return (self._source or document.Document("the catalog", self.model_dump(mode="json"))).place(location)


def _mistakes(source: document.Document | document.Folder, found: Iterable[checks.Mistake]) -> BillingError:
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
        case "extra_forbidden" if "terms" in error["loc"] and error["loc"][-1] in ("commitment_units", "free_units"):
            return (
                "terms stand around several prices, whose units differ: say it in amounts, or of each price by itself"
            )
        case "extra_forbidden":
            return "is not a field that is known here"
        case "string_type":
            return f"should be a text, and it is {error['input']!r}: write it with quotes"
        case "tuple_type":
            return f"should be a list, and it is {error['input']!r}"
        case "too_short":
            return "needs at least one"
        case "model_type" | "mapping_type":
            return f"should be fields with values, and it is {error['input']!r}"
        case "bool_type" | "bool_parsing":
            return f"should be true or false, and it is {error['input']!r}"
        case "decimal_type" | "decimal_parsing" | "int_type" | "int_parsing":
            return f"should be a number, and it is {error['input']!r}"
        case "datetime_type" | "datetime_parsing" | "datetime_from_date_parsing":
            return f"{error['input']} is no moment, such as 2026-10-15T00:00:00Z"
        case "value_error":
            return str(error["ctx"]["error"])
        case "decimal_max_places":
            return f"{error['input']} has more than 12 decimals"
        case _:
            return f"{error['msg'][0].lower()}{error['msg'][1:]}, and it is {error['input']!r}"
