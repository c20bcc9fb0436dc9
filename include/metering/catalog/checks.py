"""What must be true of a catalog beyond the shape of its parts. Each check yields where it fails, and why."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping
from itertools import combinations
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from metering.catalog import price_checks
from metering.catalog.currencies import EXPONENTS

if TYPE_CHECKING:
    from datetime import datetime

    from metering.catalog.model import Alert, Catalog, Meter, Plan, Subscription, Team

Location = tuple[int | str, ...]
Mistake = tuple[Location, str]

AGGREGATIONS = (
    "count", "sum", "min", "max", "average", "latest", "unique_count", "weighted_sum", "bucketed_max", "bucketed_sum",
)  # fmt: skip


def check(catalog: Catalog) -> Iterator[Mistake]:
    """Every mistake in a catalog whose shape is right."""
    yield from _twice("meters", "meter", catalog.meters)
    yield from _twice("plans", "plan", catalog.plans)
    yield from _twice("teams", "team", catalog.teams)
    meters = {meter.meter: meter for meter in catalog.meters}
    plans = {plan.plan: plan for plan in catalog.plans}
    for index, meter in enumerate(catalog.meters):
        yield from _meter(("meters", index), meter)
    prices: set[str] = set()
    for index, plan in enumerate(catalog.plans):
        for number, price in enumerate(plan.prices):
            place: Location = ("plans", index, "prices", number)
            if price.price in prices:
                yield (*place, "price"), f"another price is called {price.price} already"
            prices.add(price.price)
            yield from price_checks.check(place, price, meters)
        yield from price_checks.ambiguous(("plans", index), plan.prices)
        yield from price_checks.apart(("plans", index), plan.prices)
        yield from price_checks.terms(("plans", index), plan.terms)
    all_prices = {price.price: price for plan in catalog.plans for price in plan.prices}
    for index, team in enumerate(catalog.teams):
        yield from _team(("teams", index), team, plans)
        yield from price_checks.overrides(("teams", index), team.overrides, all_prices, meters)
        for number, alert in enumerate(team.alerts):
            yield from _alert(("teams", index, "alerts", number), alert, meters)
        yield from ((("teams", index, *place), reason) for place, reason in _twice("alerts", "alert", team.alerts))


def _alert(place: Location, alert: Alert, meters: Mapping[str, Meter]) -> Iterator[Mistake]:
    if (alert.amount is None) == (alert.quantity is None):
        yield place, "an alert has either an amount or a quantity"
    if (alert.quantity is None) != (alert.meter is None):
        yield (*place, "meter"), "an alert on a quantity names its meter, and one on an amount names none"
    elif alert.meter is not None and alert.meter not in meters:
        yield (*place, "meter"), f"there is no meter {alert.meter} in this catalog"


def _twice(part: str, field: str, items: Iterable[Any]) -> Iterator[Mistake]:
    seen: set[str] = set()
    for index, item in enumerate(items):
        key = getattr(item, field)
        if key in seen:
            yield (part, index, field), f"another {field} is called {key} already"
        seen.add(key)


def _meter(place: Location, meter: Meter) -> Iterator[Mistake]:
    if meter.aggregation not in AGGREGATIONS:
        yield (*place, "aggregation"), f"{meter.aggregation} is no aggregation: use one of {', '.join(AGGREGATIONS)}"
    if len(set(meter.dimensions)) < len(meter.dimensions):
        yield (*place, "dimensions"), "a dimension stands here twice"
    if meter.aggregation == "count" and meter.value_property:
        yield (*place, "value_property"), "a count takes no value: it counts events"
    if meter.aggregation == "unique_count" and not meter.value_property:
        yield place, "a unique_count names the property whose values it counts: value_property"
    if meter.aggregation.startswith("bucketed_") != (meter.bucket is not None):
        yield (*place, "bucket"), "a bucketed meter says hour or day, and no other meter does"
    if meter.operation_property and meter.aggregation != "unique_count":
        yield (*place, "operation_property"), "only a unique_count adds and removes"
    if meter.multiplier is not None and meter.aggregation in ("count", "unique_count"):
        yield (*place, "multiplier"), f"a {meter.aggregation} has no value to multiply"
    if meter.multiplier == 0:
        yield (*place, "multiplier"), "times nothing would be nothing"
    if meter.keep_events and meter.aggregation != "sum":
        yield (*place, "keep_events"), "only a sum keeps its events apart"
    if meter.keep_events and meter.rounding is not None:
        yield (*place, "rounding"), "a meter that keeps its events apart is not rounded"
    if meter.precision is not None and meter.rounding is None:
        yield (*place, "precision"), "a precision needs a rounding: round, up or down"


def _team(place: Location, team: Team, plans: dict[str, Plan]) -> Iterator[Mistake]:
    yield from _zone((*place, "time_zone"), team.time_zone)
    if team.subscription and team.subscriptions:
        yield (*place, "subscriptions"), "a team has either a subscription or a list of subscriptions"
        return
    places: list[Location] = [(*place, "subscriptions", number) for number in range(len(team.subscriptions))]
    for at, subscription in zip(places or [(*place, "subscription")], team.all_subscriptions, strict=False):
        yield from _subscription(at, team, subscription, plans)
    yield from (
        ((*place, *where), reason) for where, reason in _twice("subscriptions", "subscription", team.subscriptions)
    )
    yield from _side_by_side(places, team)


def _subscription(place: Location, team: Team, subscription: Subscription, plans: dict[str, Plan]) -> Iterator[Mistake]:
    zone_mistakes = list(_zone((*place, "time_zone"), team.zone_of(subscription)))
    if zone_mistakes:
        if subscription.time_zone:
            yield from zone_mistakes
        return
    if subscription.currency not in EXPONENTS:
        yield (*place, "currency"), f"{subscription.currency} is no currency that is known here"
    moments = yield from _moments(place, team, subscription)
    if moments is None:
        return
    starts, ends = moments["starts"], moments.get("ends")
    if ends and ends <= starts:
        yield (*place, "ends"), f"ends at {ends:%Y-%m-%d %H:%M}Z, before it starts"
        ends = None  # said once
    if subscription.cycle and "anchor_day" in subscription.model_fields_set:
        yield (*place, "anchor_day"), "periods of so many days have none: leave out the anchor_day or the cycle"
    if moments.get("plan_from", starts) < starts:
        yield (*place, "plan_from"), "is before the subscription starts"
    yield from _plans_of(place, team, subscription, plans, ends)


def _moments(
    place: Location, team: Team, subscription: Subscription
) -> Generator[Mistake, None, dict[str, datetime] | None]:
    """The times of a subscription in UTC; None where one can't be told."""
    moments = {}
    said = {field: getattr(subscription, field) for field in ("starts", "ends", "plan_from")}
    for location, value in (
        *(((field,), value) for field, value in said.items()),
        *((("plans", number, "since"), change.since) for number, change in enumerate(subscription.plans)),
    ):
        if value is None:
            continue
        if getattr(value, "hour", None) is not None and value.tzinfo is None:
            yield (*place, *location), "has no time zone: end it with Z or an offset, or give a date"
            return None
        moment = team.moment(value, subscription)
        if location[0] in said:
            moments[str(location[0])] = moment
        if moment.minute % 15 or moment.second or moment.microsecond:
            yield (*place, *location), "is not on a quarter of an hour, the smallest time that usage is added up for"
    return moments


def _plans_of(
    place: Location, team: Team, subscription: Subscription, plans: dict[str, Plan], ends: datetime | None
) -> Iterator[Mistake]:
    if (subscription.plan is None) == (not subscription.plans):
        yield place, "a subscription has either a plan or a list of plans"
        return
    if subscription.plans and subscription.plan_from:
        yield (*place, "plan_from"), "belongs to plan; in a list of plans each says since when it counts"
    before = None
    for number, change in enumerate(subscription.plan_changes):
        at: Location = (*place, "plans", number) if subscription.plans else place
        if change.plan not in plans:
            yield (*at, "plan"), f"there is no plan {change.plan} in this file"
        elif all(price.currency != subscription.currency for price in plans[change.plan].prices):
            yield (*place, "currency"), f"the plan {change.plan} has no price in {subscription.currency}"
        if subscription.plans and number and not subscription.plans[number].since:
            yield at, "does not say since when it counts: since"
            continue
        since = team.moment(change.since or subscription.starts, subscription)
        if before is None and since != team.moment(subscription.starts, subscription) and subscription.plans:
            yield (*at, "since"), "the first plan counts from when the subscription starts: leave it out"
        if before is not None and since <= before:
            yield (*at, "since"), "begins no later than the plan before it, which would end before it starts"
        if ends is not None and since >= ends:
            yield (*at, "since"), "begins when the subscription is over"
        before = since


def _side_by_side(places: list[Location], team: Team) -> Iterator[Mistake]:
    """One subscription at a time, or usage would be billed twice."""
    for (one_at, one), (other_at, other) in combinations(zip(places, team.subscriptions, strict=True), 2):
        try:
            first, second = sorted(
                (team.moment(said.starts, said), team.moment(said.ends, said) if said.ends else None, at)
                for said, at in ((one, one_at), (other, other_at))
            )
        except (TypeError, LookupError, ValueError):
            continue  # times that can't be compared are mistakes already
        if first[1] is None or first[1] > second[0]:
            yield (*second[2], "starts"), "begins before the subscription before it ends"


def _zone(place: Location, name: str) -> Iterator[Mistake]:
    try:
        ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        yield place, f"{name} is no time zone (use an IANA name, such as Europe/Berlin)"
