"""Compute time as usage: a block or a function, with the resources it holds."""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable, Generator
from datetime import UTC, datetime
from decimal import Decimal
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar, cast

from usage_client.base import BaseClient
from usage_client.calls import Identities

P = ParamSpec("P")
R = TypeVar("R")

Property = str | int | Decimal | bool | None


class ComputeMeter:
    """Measures how long blocks and functions take, and tracks it in seconds, to the microsecond.

    What they raise goes through, and the time until then counts; the event says which exception it was.
    """

    def __init__(self, usage: BaseClient, *, event: str = "compute", unit: str | None = "second") -> None:
        self._usage = usage
        self._event = event
        self._unit = unit
        self._identities = Identities("run")

    def run(
        self, *, team: str | None = None, job: str | None = None, subject: str | None = None, **resources: Property
    ) -> Run:
        """A block to measure: `with compute.run(team="acme", job="job-7", instance_type="m5.large", cpus=4):`.

        `job` identifies the work, and is its idempotency key: a job that is started again after its process died counts
        once, by the run that was first heard of. Where each attempt is to count, name it: "job-7/2". Without a job,
        every run counts. `resources` become properties: instance_type, cpus, gpus, memory_gb, spot ...
        """
        return Run(self, team, job, subject, dict(resources))

    def metered(
        self,
        *,
        team: str | Callable[..., str | None] | None = None,
        job: Callable[..., str | None] | None = None,
        subject: str | None = None,
        **resources: Property,
    ) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """A decorator for functions: ordinary ones, coroutines, and generators (from their first step to their end).

        `team` and `job` may be functions, which are given the call's own arguments.
        """

        def decorate(function: Callable[P, R]) -> Callable[P, R]:
            def begin(*args: Any, **kwargs: Any) -> Run:
                try:
                    named = team(*args, **kwargs) if callable(team) else team
                    key = job(*args, **kwargs) if job is not None else None
                except Exception as error:
                    # The function is to run whatever happens here. Without its team it can't be billed.
                    self._usage.drop(f"a run of {function.__qualname__} could not be metered: {error!r}")
                    return Run(None, None, None, None, {})
                return self.run(team=named, job=key, subject=subject, function=function.__qualname__, **resources)

            if inspect.iscoroutinefunction(function):

                @functools.wraps(function)
                async def wait(*args: P.args, **kwargs: P.kwargs) -> Any:
                    with begin(*args, **kwargs):
                        return await function(*args, **kwargs)

                return cast("Callable[P, R]", wait)
            if inspect.isgeneratorfunction(function):

                @functools.wraps(function)
                def step(*args: P.args, **kwargs: P.kwargs) -> Generator[Any, Any, Any]:
                    with begin(*args, **kwargs):
                        return (yield from function(*args, **kwargs))

                return cast("Callable[P, R]", step)
            if inspect.isasyncgenfunction(function):
                raise TypeError("an asynchronous generator can't be metered as a whole: use run() within it")

            @functools.wraps(function)
            def call(*args: P.args, **kwargs: P.kwargs) -> R:
                with begin(*args, **kwargs):
                    return function(*args, **kwargs)

            return call

        return decorate

    def track(self, run: Run) -> None:
        """Track a run that is over."""
        try:
            self._usage.track(
                self._event,
                run.seconds,
                team=run.team,
                unit=self._unit,
                time=run.began_at,
                subject=run.subject,
                properties={name: value for name, value in run.properties.items() if value is not None},
                idempotency_key=run.job or self._identities.next(),
            )
        except Exception as error:
            self._usage.drop(f"a run could not be metered: {error!r}")


class Run:
    """One run. `properties` may be added to until it is over."""

    def __init__(
        self,
        meter: ComputeMeter | None,
        team: str | None,
        job: str | None,
        subject: str | None,
        properties: dict[str, Property],
    ) -> None:
        self.team, self.job, self.subject, self.properties = team, job, subject, properties
        self.began_at: datetime | None = None
        """In UTC; None before it has begun."""
        self._meter = meter
        self._began = 0
        self._taken: int | None = None

    @property
    def seconds(self) -> Decimal:
        """How long it has taken, up to now or to its end."""
        if self.began_at is None:
            return Decimal(0)
        taken = time.monotonic_ns() - self._began if self._taken is None else self._taken
        return Decimal(taken // 1000).scaleb(-6)

    def __enter__(self) -> Self:
        if self.began_at is not None:
            raise RuntimeError("a run is measured once: ask for another")
        self.began_at, self._began = datetime.now(UTC), time.monotonic_ns()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._taken = time.monotonic_ns() - self._began
        if error is not None and not isinstance(error, GeneratorExit):
            self.properties["error"] = type(error).__name__
        if self._meter is not None:
            self._meter.track(self)
