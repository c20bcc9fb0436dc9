"""While the service is away, events wait on disk: whoever dies meanwhile, each is counted once in the end."""

from __future__ import annotations

import errno
import json
import os
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from metering.processes.ports import free_port
from usage_client import UsageClient
from usage_client.retry import RetryPolicy
from usage_client.spool import Spool, SpoolFull

QUICK = RetryPolicy(first_wait=0.02, longest_wait=0.1, give_up_after=5)
Server = Any
Start = Callable[..., Any]
Until = Callable[..., None]


def _client(url: str, spool: Path, **options: Any) -> UsageClient:
    return UsageClient(
        url, "bk_secret", spool=spool, **{"retry": QUICK, "flush_seconds": 0.05, "timeout": 1.0, **options}
    )


def _files(spool: Path) -> list[Path]:
    return sorted(path for path in spool.rglob("*") if path.is_file())


@pytest.fixture
def nowhere() -> str:
    return f"http://127.0.0.1:{free_port()}"


def test_what_was_tracked_during_an_outage_is_sent_when_it_is_over(server: Server, tmp_path: Path) -> None:
    server.script = [503] * 5
    with _client(server.url, tmp_path, batch_size=10) as usage:
        for number in range(100):
            usage.track("e", number, idempotency_key=str(number))
        assert usage.flush(10)
    tally = usage.tally
    assert set(server.kept) == set(map(str, range(100)))
    assert tally.accepted == 100
    assert tally.spooled == tally.recovered > 0
    assert tally.tracked + tally.recovered == tally.sent + tally.spooled + tally.failed + tally.lost
    assert _files(tmp_path) == []


@pytest.mark.parametrize("poison", [{"0"}, {"99"}, {"7", "50", "51"}])
def test_events_that_break_the_service_are_set_apart_and_block_no_others(
    server: Server, tmp_path: Path, until: Until, poison: set[str]
) -> None:
    server.fails_at = set(poison)
    with _client(server.url, tmp_path, batch_size=50) as usage:
        for number in range(100):
            usage.track("e", number, idempotency_key=str(number))
        until(lambda: len(server.kept) == 100 - len(poison))
        for number in range(100, 120):
            usage.track("e", number, idempotency_key=str(number))
        until(lambda: len(server.kept) == 120 - len(poison) and usage.spool.failed == len(poison))
        requests = len(server.batches)
        assert usage.flush(10)
        time.sleep(0.3)
        assert len(server.batches) == requests, "they are not tried again and again"
    tally = usage.tally
    assert (tally.failed, tally.lost, tally.accepted) == (len(poison), 0, 120 - len(poison))
    assert tally.tracked + tally.recovered == tally.sent + tally.spooled + tally.failed + tally.lost
    server.fails_at = set()
    with _client(server.url, tmp_path) as usage:  # mended meanwhile
        assert usage.flush(10)
    assert set(server.kept) == set(map(str, range(120))) and _files(tmp_path) == []


def test_one_event_that_breaks_the_service_waits_until_others_show_that_it_is_there(
    server: Server, tmp_path: Path, until: Until
) -> None:
    server.fails_at = {"bad"}
    with _client(server.url, tmp_path) as usage:
        usage.track("e", idempotency_key="bad")
        until(lambda: len(server.batches) > 8)
        assert (usage.spool.events, usage.spool.failed) == (1, 0), "it may be an outage"
        usage.track("e", idempotency_key="good")
        until(lambda: usage.spool.failed == 1)
    assert set(server.kept) == {"good"}


def test_a_service_that_fails_at_everything_is_an_outage(server: Server, tmp_path: Path, until: Until) -> None:
    server.fails_at = set(map(str, range(60)))
    with _client(server.url, tmp_path, batch_size=20) as usage:
        for number in range(60):
            usage.track("e", number, idempotency_key=str(number))
        until(lambda: len(server.batches) > 60)
        assert (usage.spool.events, usage.spool.failed, usage.spool.files) == (60, 0, usage.spool.files)
        assert usage.spool.files <= 3, "it is not taken apart on disk"
        server.fails_at = set()
        assert usage.flush(10)
    assert len(server.kept) == 60 and usage.tally.failed == 0


def test_nothing_waits_in_memory_while_the_service_is_away(nowhere: str, tmp_path: Path, until: Until) -> None:
    usage = _client(nowhere, tmp_path, batch_size=10, max_pending=50)
    for number in range(500):
        while usage.track("e", number, idempotency_key=str(number)) is None:
            time.sleep(0.001)
    until(lambda: usage.pending == 0)
    assert usage.spool.events == usage.tally.spooled == 500
    began = time.monotonic()
    tally = usage.close()
    assert time.monotonic() - began < 20  # it would wait for 30, if it waited
    assert (tally.tracked, tally.spooled, tally.failed, tally.lost) == (500, 500, 0, 0)


def test_the_next_process_sends_what_the_last_one_left(
    server: Server, nowhere: str, tmp_path: Path, until: Until
) -> None:
    with _client(server.url, tmp_path) as usage:
        server.script = [503] * 100
        for number in range(30):
            usage.track("e", number, idempotency_key=str(number))
    assert usage.tally.spooled == 30
    server.script = []
    later = _client(server.url, tmp_path)  # and nothing is tracked
    until(lambda: len(server.kept) == 30)
    assert later.close().recovered == 30
    assert _files(tmp_path) == []


def test_what_was_on_disk_survives_kill_9(server: Server, tmp_path: Path, start: Start) -> None:
    server.script = [503] * 10_000
    program = """
import sys
from usage_client import UsageClient
usage = UsageClient(sys.argv[1], "bk_secret", spool=sys.argv[2], batch_size=100, flush_seconds=0.05)
for number in range(2000):
    usage.track("e", number, idempotency_key=str(number))
while usage.pending:
    pass
print("on disk", flush=True)
sys.stdin.read()
"""
    process = start(program, server.url, tmp_path)
    assert process.stdout.readline() == "on disk\n"
    process.kill()
    process.wait()
    server.script = []
    with _client(server.url, tmp_path) as usage:
        assert usage.flush(10)
    assert set(server.kept) == set(map(str, range(2000)))
    assert usage.tally.recovered == usage.tally.accepted == 2000


def test_a_durable_client_loses_nothing_at_all_to_kill_9(server: Server, tmp_path: Path, start: Start) -> None:
    """Each event whose `track` has returned is counted once, at whatever moment the process is killed."""
    program = """
import itertools, sys, time
from usage_client import UsageClient
usage = UsageClient(sys.argv[1], "bk_secret", spool=sys.argv[2], durable=True, batch_size=50, flush_seconds=0.05)
for number in itertools.count():
    key = usage.track("e", number, idempotency_key=f"{sys.argv[3]}-{number}")
    if key: sys.stdout.write(key + "\\n"); sys.stdout.flush()
    if number % 10 == 0: time.sleep(0.002)
"""
    tracked: set[str] = set()
    for life in range(5):
        server.script = [503, "reset after the commit", None, None] * 1000 if life % 2 else []
        process = start(program, server.url, tmp_path, life)
        tracked.add(process.stdout.readline().strip())
        threading.Timer(0.1 + life * 0.05, process.kill).start()
        tracked |= {line.strip() for line in process.stdout if line.endswith("\n")}
        process.wait()
    server.script = []
    with _client(server.url, tmp_path) as usage:
        assert usage.flush(20)
    # The last may have been written and not been said.
    assert tracked <= set(server.kept)
    assert len(set(server.kept) - tracked) <= 5
    assert usage.tally.quarantined == 0
    assert _files(tmp_path) == []


def test_processes_that_share_a_folder_send_each_event_once(
    server: Server, tmp_path: Path, until: Until, start: Start
) -> None:
    server.script = [503] * 10
    with _client(server.url, tmp_path, batch_size=10, retry=RetryPolicy(first_wait=30)) as usage:
        for number in range(400):
            usage.track("e", number, idempotency_key=str(number))
        until(lambda: usage.tally.spooled == 400)
    server.script = []
    program = """
import sys
from usage_client import UsageClient
with UsageClient(sys.argv[1], "bk_secret", spool=sys.argv[2], batch_size=20, flush_seconds=0.05) as usage:
    for number in range(100):
        usage.track("e", number, idempotency_key=f"{sys.argv[3]}-{number}")
    assert usage.flush(30)
print(usage.tally.sent, usage.tally.duplicate)
"""
    processes = [start(program, server.url, tmp_path, name) for name in "abcd"]
    told = [list(map(int, process.communicate(timeout=60)[0].split())) for process in processes]
    assert len(server.kept) == 800
    assert sum(sent for sent, _ in told) == 800  # nothing went out twice
    assert sum(duplicate for _, duplicate in told) == 0
    assert _files(tmp_path) == []


def test_the_folder_stays_within_its_size_and_drops_are_counted(nowhere: str, tmp_path: Path) -> None:
    told: list[Any] = []
    usage = _client(
        nowhere, tmp_path, batch_size=10, max_pending=100, spool_bytes=100_000, on_drop=told.append, timeout=0.2
    )
    for number in range(5000):
        usage.track("e", number, idempotency_key=str(number), properties={"filler": "x" * 200})
        if number % 10 == 0:
            time.sleep(0.001)
    tally = usage.close(timeout=0.2)
    assert 50_000 < usage.spool.bytes <= 100_000 + 4096
    assert tally.dropped > 0
    assert tally.tracked + tally.dropped == 5000
    assert tally.tracked == tally.spooled + tally.failed
    assert sum(drops.count for drops in told) == tally.dropped
    assert {reason for drops in told for reason in drops.reasons} == {"there is no room: the service is away or slow"}


def test_a_disk_that_fails_leaves_events_in_memory(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, until: Until
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    server.script = [503] * 3
    usage = _client(server.url, tmp_path, durable=True)
    monkeypatch.setattr(os, "write", full)
    for number in range(10):
        assert usage.track("e", number, idempotency_key=str(number))
    until(lambda: len(server.kept) == 10)
    monkeypatch.undo()
    tally = usage.close()
    assert (tally.tracked, tally.accepted, tally.spooled) == (10, 10, 0)
    assert _files(tmp_path) == []


def test_a_folder_that_cannot_be_made_stops_nobody(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with _client(server.url, tmp_path / "file") as usage:
        assert usage.track("e", idempotency_key="a")
    assert set(server.kept) == {"a"}


def test_a_file_cut_off_anywhere_gives_its_whole_lines(server: Server, tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", 10**6)
    lines = [json.dumps({"event": "e", "idempotency_key": str(number)}).encode() for number in range(8)]
    file = spool.open()
    for line in lines:
        file.append(line)
    content = file.path.read_bytes()
    file.release()
    for cut in range(len(content)):
        file.path.write_bytes(content[:cut])
        claim = spool.claim(1000, 10**6)
        if claim is None:  # nothing in it, and it is gone
            assert b"\n" not in content[:cut].partition(b"\n")[2]
        else:
            assert claim.lines == lines[: len(claim.lines)]
            assert len(claim.lines) >= content[:cut].count(b"\n") - 1
            assert claim.damaged == 0
            claim.release()


def test_what_the_disk_has_damaged_is_counted_and_set_apart(server: Server, tmp_path: Path, until: Until) -> None:
    server.script = [503] * 100
    with _client(server.url, tmp_path) as usage:
        for number in range(10):
            usage.track("e", number, idempotency_key=str(number))
    (file,) = _files(tmp_path)
    file.write_bytes(file.read_bytes().replace(b'"quantity":"7"', b'"quantity":"9"'))
    server.script = []
    with _client(server.url, tmp_path) as usage:
        until(lambda: usage.tally.recovered == 10)
    assert set(server.kept) == set(map(str, range(10))) - {"7"}
    assert (usage.tally.lost, usage.tally.accepted) == (1, 9)
    (left,) = _files(tmp_path)
    assert left.suffix == ".damaged"


def test_what_the_service_refuses_stays_on_disk_and_is_tried_again_at_the_next_start(
    server: Server, tmp_path: Path
) -> None:
    server.script = [401, 401]
    with _client(server.url, tmp_path) as usage:
        usage.track("e", idempotency_key="a")
        usage.flush(5)
        assert (usage.tally.failed, usage.spool.failed) == (1, 1)
        (failed,) = usage.failed_batches
        assert failed.events[0]["idempotency_key"] == "a"
        assert "401" in failed.reason
        assert usage.retry_failed() == 1
        usage.flush(5)
        assert (usage.tally.failed, usage.spool.failed) == (1, 1)
    with _client(server.url, tmp_path) as usage:
        assert usage.flush(5)
    assert set(server.kept) == {"a"}
    assert (usage.tally.recovered, usage.tally.failed) == (1, 0)


def test_files_that_are_too_large_together_are_sent_apart(server: Server, tmp_path: Path, until: Until) -> None:
    server.script = [503] * 100
    with _client(server.url, tmp_path, batch_size=50, retry=RetryPolicy(first_wait=30)) as usage:
        for number in range(200):
            usage.track("e", number, idempotency_key=str(number))
        until(lambda: usage.tally.spooled == 200)
    server.script, server.limit = [], 30
    with _client(server.url, tmp_path, batch_size=200) as usage:
        assert usage.flush(10)
    assert len(server.kept) == usage.tally.accepted == usage.tally.recovered == 200
    assert max(len(batch) for batch in server.batches if len(batch) <= 30) > 10


def test_keys_of_different_teams_never_send_each_others_events(server: Server, tmp_path: Path) -> None:
    server.script = [503] * 100
    with UsageClient(server.url, "bk_acme", spool=tmp_path, retry=QUICK) as usage:
        usage.track("e", idempotency_key="of acme")
    server.script, before = [], len(server.headers)
    with UsageClient(server.url, "bk_globex", spool=tmp_path, retry=QUICK) as usage:
        usage.track("e", idempotency_key="of globex")
        assert usage.flush(5)
    assert set(server.kept) == {"of globex"}
    with UsageClient(server.url, "bk_acme", spool=tmp_path, retry=QUICK) as usage:
        assert usage.flush(5)
    assert [headers["authorization"] for headers in server.headers[before:]] == ["Bearer bk_globex", "Bearer bk_acme"]
    assert "bk_" not in "".join(map(str, tmp_path.rglob("*")))


def test_who_names_the_team_may_change_the_key(server: Server, tmp_path: Path) -> None:
    server.script = [401, 401]
    with UsageClient(server.url, "bk_revoked", team="acme", spool=tmp_path, retry=QUICK) as usage:
        usage.track("e", idempotency_key="a")
    with UsageClient(server.url, "bk_new", team="acme", spool=tmp_path, retry=QUICK) as usage:
        usage.flush(5)
        usage.retry_failed()
        assert usage.flush(5)
    assert set(server.kept) == {"a"}


def test_what_a_folder_holds_is_shown_and_sent_by_hand(server: Server, tmp_path: Path, start: Start) -> None:
    """The key was revoked, and the events do not name their team: somebody says which key is the right one."""
    server.script = [401] * 2
    with _client(server.url, tmp_path / "spool", batch_size=10) as usage:
        for number in range(20):
            usage.track("e", number, idempotency_key=str(number))
    (sender,) = (path.name for path in (tmp_path / "spool").iterdir())
    shown, _ = start(["-m", "usage_client.drain"], tmp_path / "spool").communicate(timeout=60)
    assert shown.splitlines()[1].split()[:4] == [sender, "2", "0", "20"]
    sent = start(["-m", "usage_client.drain"], tmp_path / "spool", "--url", server.url, USAGE_API_KEY="bk_new")
    assert (
        sent.communicate(timeout=60)[0] == f"{sender}: 20 accepted, 0 duplicate, 0 in quarantine, 0 refused, 0 left\n"
    )
    assert sent.returncode == 0
    assert len(server.kept) == 20
    assert server.headers[-1]["authorization"] == "Bearer bk_new"


def test_what_is_spooled_is_for_its_owner_alone(nowhere: str, tmp_path: Path) -> None:
    with _client(nowhere, tmp_path / "spool") as usage:
        usage.track("e", idempotency_key="a")
    (file,) = _files(tmp_path)
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    checked, _, event = file.read_bytes().splitlines()[1].partition(b" ")
    assert int(checked, 16) == zlib.crc32(event)
    assert json.loads(event)["idempotency_key"] == "a"


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    yield Spool(tmp_path / "folder", 10**6)


def test_a_file_in_one_hand_is_in_no_other(spool: Spool) -> None:
    spool.write([b'{"n":1}'])
    mine = spool.claim(10, 10**6)
    assert mine is not None
    other = Spool(spool.folder, 10**6)
    assert other.claim(10, 10**6) is None
    mine.release()
    theirs = other.claim(10, 10**6)
    assert theirs is not None
    theirs.remove()
    assert spool.claim(10, 10**6) is None


def test_many_hands_take_each_file_once(spool: Spool) -> None:
    for number in range(200):
        spool.write([b'{"n":%d}' % number])
    taken: list[bytes] = []

    def work() -> None:
        own = Spool(spool.folder, 10**6)
        while (claim := own.claim(3, 10**6)) is not None:
            taken.extend(claim.lines)
            claim.remove()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    while (claim := spool.claim(3, 10**6)) is not None:  # where all were in others' hands, a thread went home
        taken.extend(claim.lines)
        claim.remove()
    assert sorted(taken) == sorted(b'{"n":%d}' % number for number in range(200))


def test_a_full_spool_says_so(tmp_path: Path) -> None:
    small = Spool(tmp_path / "small", 8192)
    small.write([b"{}"])
    small.write([b"{}"])
    with pytest.raises(SpoolFull):
        small.write([b"{}"])
