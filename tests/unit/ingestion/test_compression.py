"""Unpacking of bodies: every way in which they may be packed, and none in which they may do harm."""

from __future__ import annotations

import gzip
import time
import tracemalloc
from collections.abc import Callable

import pytest
from backports import zstd

from metering.ingestion.body import MAX_BYTES
from metering.ingestion.compression import MAX_MEMBERS, unpack
from metering.ingestion.events import Unreadable

PACK: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "zstd": zstd.compress}
both = pytest.mark.parametrize("encoding", PACK)


@both
def test_one_part_or_several_are_unpacked(encoding: str) -> None:
    pack = PACK[encoding]
    large = bytes(range(256)) * 4000
    assert unpack(pack(b"one"), encoding) == b"one"
    assert unpack(pack(large) + pack(b"") + pack(b"two"), encoding) == large + b"two"
    assert unpack(b"", encoding) == b""
    assert unpack(pack(b"exactly"), encoding, limit=7) == b"exactly"


@both
@pytest.mark.parametrize("spoil", [lambda data: b"nonsense", lambda data: data[:-3], lambda data: data + b"more"])
def test_what_is_broken_is_unreadable(encoding: str, spoil: Callable[[bytes], bytes]) -> None:
    with pytest.raises(Unreadable):
        unpack(spoil(PACK[encoding](b"one" * 1000)), encoding)


@both
def test_a_bomb_is_refused_on_the_way_in_bounded_memory(encoding: str) -> None:
    bomb = PACK[encoding](bytes(400_000_000))
    tracemalloc.start()
    started = time.process_time()
    try:
        with pytest.raises(Unreadable, match=f"unpacks to more than {MAX_BYTES} bytes"):
            unpack(bomb, encoding)
        assert tracemalloc.get_traced_memory()[1] < 3 * MAX_BYTES
    finally:
        tracemalloc.stop()
    assert time.process_time() - started < 2


@both
def test_a_body_of_a_million_empty_parts_is_refused_at_once(encoding: str) -> None:
    parts = PACK[encoding](b"") * 1_000_000
    started = time.process_time()
    with pytest.raises(Unreadable, match=f"more than {MAX_MEMBERS} parts"):
        unpack(parts[:MAX_BYTES], encoding)
    assert time.process_time() - started < 1


def test_a_zstd_frame_that_wants_a_large_window_is_refused() -> None:
    options = {zstd.CompressionParameter.window_log: 27, zstd.CompressionParameter.content_size_flag: 0}
    packer = zstd.ZstdCompressor(options=options)
    packed = packer.compress(b"x" * 1000) + packer.flush()
    with pytest.raises(Unreadable):
        unpack(packed, "zstd")
