"""Finding the events at which a service fails, whichever they are."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from usage_client.delivery import Answered, Impossible, Later, Outcome
from usage_client.suspects import AT_MOST, IN_VAIN, STRIKES, Suspects, take_apart

sizes = st.integers(1, 120)


@given(sizes, st.sets(st.integers(0, 119)), st.sets(st.integers(0, 119), max_size=3), st.integers(1, 400))
def test_each_event_is_answered_set_apart_or_left_and_only_bad_ones_are_set_apart(
    size: int, bad: set[int], refused: set[int], goes_away_at: int
) -> None:
    requests: list[Sequence[bytes]] = []

    def attempt(lines: Sequence[bytes]) -> Outcome:
        requests.append(lines)
        if len(requests) >= goes_away_at:
            return Later("ConnectError")
        numbers = {int(line) for line in lines}
        if numbers & bad:
            return Later("500: internal_error", by_fault=True)
        return Impossible("403") if len(lines) == 1 and numbers & refused else Answered({"accepted": len(lines)})

    lines = [b"%d" % number for number in range(size)]
    found = take_apart(lines, attempt)
    assert len(requests) <= AT_MOST
    if found is None:
        assert len(requests) >= goes_away_at or len(requests) >= IN_VAIN or {*range(size)} <= bad | refused
        return
    answered = [line for part, _ in found.answered for line in part]
    hopeless = [line for line, _ in found.hopeless]
    assert sorted([*answered, *hopeless, *found.left]) == sorted(lines)
    assert {int(line) for line in hopeless} <= bad | refused
    assert not {int(line) for line in answered} & bad


def test_who_was_failed_at_is_suspected_after_some_strikes_and_acquitted_by_an_answer() -> None:
    suspects = Suspects()
    assert [suspects.strike(["a"]) for _ in range(STRIKES)] == [False] * (STRIKES - 1) + [True]
    assert not suspects.answers_others(["a"])
    suspects.answered(["b"])
    assert suspects.answers_others(["a"])
    suspects.rename("a", "c")
    assert suspects.answers_others(["c"])
    suspects.answered(["c"])
    assert not suspects.strike(["c"])
