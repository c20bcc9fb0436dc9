"""`./billing bench …`: how fast it is, measured on this machine."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Annotated

import typer

from metering.bench.part import Part

if TYPE_CHECKING:
    from metering.bench.measurements import Result
    from metering.bench.rating import Result as Timed
    from metering.bench.stripe_trials import Report

EXAMPLES = [
    "./billing bench ingest",
    "./billing bench ingest --events 1000000 --processes 4",
    "./billing bench ingest --seconds 10 --json > ingest.json",
    "./billing bench rate",
    "./billing bench rate --events 100000 --teams 500",
    "./billing bench rate --only bills",
    "./billing bench client",
    "./billing bench client --calls 2000 --json",
    "./billing bench stripe",
    "./billing bench faults",
    "./billing bench faults --seeds 300 --seed 4711",
    "./billing bench faults --seeds 20 --version v2 --json",
]

app = typer.Typer(
    name="bench",
    help="Measure how fast it is, on this machine.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    epilog="\b\nExamples:\n" + "\n".join(f"  {example}" for example in EXAMPLES),
)


@app.callback()
def bench() -> None:
    """Measure how fast it is, on this machine."""


@app.command(epilog="\b\nExamples:\n" + "\n".join(f"  {example}" for example in EXAMPLES[:3]))
def ingest(
    events: Annotated[
        int, typer.Option(min=1, help="Events in batches of 1,000; fewer in small ones, three times as many in files.")
    ] = (300_000),
    seconds: Annotated[float | None, typer.Option(min=0.1, help="End each way over HTTP after so many.")] = None,
    processes: Annotated[int, typer.Option(min=1, max=64, help="Processes that the service runs as.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Measure how many events a second become durable: by plain COPY, over HTTP, and from files.

    Everything is made for it and taken away after it: a PostgreSQL with the settings of production, a service, a home
    in the temporary directory. The system that is installed here is not touched. What was acknowledged is compared with
    what has landed, and a difference fails the command. Client, service and PostgreSQL share the machine, so let it do
    nothing else meanwhile.
    """
    from metering.bench.house import House
    from metering.bench.measurements import measure
    from metering.cli.console import say

    def told(result: Result) -> None:
        say(f"{result.name}{', messy' if result.messy else ''}: {result.events_per_second:,.0f} events/s")

    say("Making a PostgreSQL and a service to measure.")
    with House(processes=processes) as house:
        results = measure(house, events, seconds, told)
    if as_json:
        print(json.dumps({"processors": os.cpu_count(), "results": [result.as_dict() for result in results]}, indent=2))
        return
    _show(results)


@app.command(epilog="\b\nExamples:\n" + "\n".join(f"  {example}" for example in EXAMPLES[3:6]))
def rate(
    events: Annotated[int, typer.Option(min=1_000, help="New events of an increment.")] = 2_000_000,
    teams: Annotated[int, typer.Option(min=1, help="Teams whose bills are made.")] = 10_000,
    meters: Annotated[int, typer.Option(min=1, max=1_000, help="Meters of each.")] = 20,
    only: Annotated[Part | None, typer.Option(help="Measure one part by itself.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Measure how long it takes from landed events to bills.

    An hour's increment, beside a plain GROUP BY over the same rows; the same increment with ten times the history;
    thirty days again from raw events, beside a plain GROUP BY, too; the bills of all teams from aggregates; and one
    preview bill. Made for each part and taken away after it is a PostgreSQL with the settings of production. What was
    landed is compared with what was metered after each, and a difference fails the command. The whole takes some ten
    to fifteen minutes and 15 GB of disk; let the machine do nothing else meanwhile.
    """
    from metering.bench.rating import measure
    from metering.cli.console import say

    _show_results(measure(events, teams, meters, say, only), as_json)


@app.command(epilog="\b\nExamples:\n  ./billing bench asof\n  ./billing bench asof --events 500000 --teams 200")
def asof(
    events: Annotated[int, typer.Option(min=1_000, help="Events of a year.")] = 10_000_000,
    teams: Annotated[int, typer.Option(min=1, help="Teams among whom they are spread.")] = 1_000,
    meters: Annotated[int, typer.Option(min=1, max=1_000, help="Meters of each.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Measure how long it takes to build bills of the past, tell them apart, and list the events under a line.

    Beside a bill as of a past moment stands the plain query for today's bill in the marts. Late usage and a corrected
    price come after the bills became final. Made for it and taken away after it is a PostgreSQL with the settings of
    production; let the machine do nothing else meanwhile.
    """
    from metering.bench.asof import measure
    from metering.cli.console import say

    _show_results(measure(events, teams, meters, say), as_json)


def _show_results(results: list[Timed], as_json: bool) -> None:
    from metering.cli.console import table

    if as_json:
        found = {"processors": os.cpu_count(), "results": [result.as_dict() for result in results]}
        print(json.dumps(found, indent=2))
        return
    table(
        (
            (
                result.name,
                result.what,
                f"{result.seconds:,.3f}" if result.seconds is not None else "",
                f"{result.beside:,.3f}" if result.beside is not None else "",
                f"{result.per_second:,.0f}" if result.per_second is not None else "",
                result.target,
                "met" if result.met else "not met",
            )
            for result in results
        ),
        headers=("", "", "seconds", "beside", "a second", "target", ""),
    )


@app.command(epilog="\b\nExamples:\n" + "\n".join(f"  {example}" for example in EXAMPLES[6:8]))
def client(
    calls: Annotated[int, typer.Option(min=100, help="Calls of each way.")] = 20_000,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Measure what metering costs the application that does it, in microseconds a call.

    Each way of the client library (track, also in an event loop, both kinds of middleware, the decorator, the context
    manager), with the service answering and with the service away. Fails where a call costs 50 microseconds or more
    with the service away. It takes half a minute and needs nothing but this process and a stand-in for the service.
    """
    from dataclasses import asdict

    from metering.cli.console import say, table
    from usage_client import bench

    costs = bench.measure(calls, lambda cost: say(f"{cost.way}, service {cost.service}: {cost.mean:.1f} µs"))
    if as_json:
        print(json.dumps({"processors": os.cpu_count(), "results": [asdict(cost) for cost in costs]}, indent=2))
    else:
        table(
            (
                (
                    *(cost.way, cost.service),
                    *(f"{value:,.1f}" for value in (cost.cpu, cost.mean, cost.p50, cost.p99, cost.worst)),
                    f"{cost.dropped:,}",
                )
                for cost in costs
            ),
            headers=("call", "service", "processor µs", "mean µs", "p50 µs", "p99 µs", "worst µs", "dropped"),
        )
    say(bench.verdict(costs))
    if any(cost.too_dear for cost in costs):
        raise typer.Exit(1)


@app.command(epilog="\b\nExamples:\n" + "\n".join(f"  {example}" for example in EXAMPLES[8:9]))
def stripe(
    windows: Annotated[int, typer.Option(min=1_000, help="Windows that are planned.")] = 100_000,
    submissions: Annotated[int, typer.Option(min=100, help="Submissions of these that are sent.")] = 20_000,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Measure how fast usage is planned for Stripe, and how fast one worker sends it to the emulator.

    The emulator, PostgreSQL (with the settings of production) and the worker are processes of their own on this
    machine; let it do nothing else meanwhile. It takes a minute.
    """
    from metering.bench.submitting import measure
    from metering.cli.console import say

    _show_results(measure(windows, submissions, say), as_json)


@app.command(epilog="\b\nExamples:\n" + "\n".join(f"  {example}" for example in EXAMPLES[9:]))
def faults(
    seeds: Annotated[int, typer.Option(min=0, help="How many seeds are tried.")] = 200,
    seed: Annotated[int | None, typer.Option(help="The first seed, which an earlier run printed.")] = None,
    control: Annotated[int, typer.Option(min=0, help="How many of them are tried without identifiers as well.")] = 5,
    boundaries: Annotated[bool, typer.Option(help="Kill a worker at each statement and request, too.")] = True,
    version: Annotated[str, typer.Option(help="Of the API for meter events: v1 or v2.")] = "v1",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Prove that each window at Stripe equals its target in the end, whatever happens on the way.

    Half of all POSTs meet one of eight faults; workers are killed with SIGKILL; the clock jumps by up to 26 hours;
    PostgreSQL is restored from an older backup; two submit at once; customers are deleted and meters deactivated.
    A seed takes some seconds. Exits with another status than 0 where a window is wrong or something waits forever, or
    where the control, which sends no identifiers, is right throughout and so proves that this can't fail.
    """
    from metering.bench.stripe_trials import prove
    from metering.cli.console import say

    report = prove(seeds, seed, control, boundaries=boundaries, version=version, told=say)
    if as_json:
        print(json.dumps(report.as_dict(), indent=2))
    else:
        _show_trials(report)
    if not report.is_proved:
        raise typer.Exit(1)


def _show_trials(report: Report) -> None:
    from metering.cli.console import table

    names = ("faults", "kills", "jumps", "pairs", "restores", "adoptions", "refusals", "events")
    table(
        [
            (
                part.name,
                f"{len(part.outcomes):,}",
                *(f"{part.total(name):,}" for name in names),
                f"{sum(outcome.windows for outcome in part.outcomes):,}",
                sum(outcome.mismatched for outcome in part.outcomes),
                sum(outcome.waiting for outcome in part.outcomes),
                f"{sum(outcome.seconds for outcome in part.outcomes):,.0f}",
            )
            for part in report.parts
        ],
        headers=("", "trials", *names, "windows", "mismatched", "waiting", "seconds"),
    )
    print(report.sentence)


def _show(results: list[Result]) -> None:
    from metering.cli.console import table

    for messy, title in (
        (False, "New events, in order"),
        (True, "\nHalf of them sent before, out of order, over three months"),
    ):
        table(
            [_cells(result) for result in results if result.messy is messy],
            headers=("", "events", "events/s", "of COPY", "p50 ms", "p99 ms", "memory MiB: start, peak, end"),
            title=title,
        )


def _cells(result: Result) -> list[str]:
    memory = result.memory
    return [
        result.name,
        f"{result.events:,}",
        f"{result.events_per_second:,.0f}",
        f"{result.ratio_to_copy:.2f}" if result.ratio_to_copy is not None else "",
        f"{result.p50:,.1f}" if result.p50 is not None else "",
        f"{result.p99:,.1f}" if result.p99 is not None else "",
        " ".join(f"{size / 2**20:,.0f}" for size in (memory.start, memory.peak, memory.end)) if memory else "",
    ]
