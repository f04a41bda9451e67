import bz2
import gzip
import io
import lzma
import random
import zlib
from collections.abc import Callable

import pytest
import zstandard

from pipeline.web.decompression import STEP_BYTES, DamagedFileError, decompress

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    ".zst": lambda data: zstandard.ZstdCompressor(write_checksum=True).compress(data),
    ".xz": lambda data: lzma.compress(data, preset=0),
    ".bz2": lambda data: bz2.compress(data, compresslevel=1),
    ".gz": gzip.compress,
}
formats = pytest.mark.parametrize("ending", sorted(PACKERS))


def words(size_bytes: int) -> bytes:
    """Text that compresses about as well as a dump does."""
    choose = random.Random(size_bytes)
    lexicon = [bytes(choose.choices(b"abcdefghijklmnop", k=choose.randrange(3, 12))) for _ in range(3_000)]
    return b" ".join(choose.choices(lexicon, k=size_bytes // 7))[:size_bytes]


def read_until_damage(packed: bytes, name: str) -> tuple[bytes, str]:
    """What came out, and the message of the damage; empty where there was none."""
    got = bytearray()
    try:
        for piece in decompress(io.BytesIO(packed), name):
            got += piece
    except DamagedFileError as damage:
        return bytes(got), str(damage)
    return bytes(got), ""


@formats
@pytest.mark.parametrize("size_bytes", [0, 1, STEP_BYTES, 3 * STEP_BYTES + 17])
def test_every_format_is_known_by_its_content_whatever_its_name(ending: str, size_bytes: int) -> None:
    text = words(size_bytes)
    assert read_until_damage(PACKERS[ending](text), "RS_2012-05") == (text, "")
    assert read_until_damage(PACKERS[ending](text), "wrong.json") == (text, "")


@formats
def test_frames_and_members_follow_one_another_with_or_without_padding(ending: str) -> None:
    one, two = words(300_000), words(50_000)
    pack = PACKERS[ending]
    assert read_until_damage(pack(one) + pack(b"") + pack(two), ending) == (one + two, "")
    assert read_until_damage(pack(one) + bytes(400_000) + pack(two) + bytes(8), ending) == (one + two, "")


@formats
@pytest.mark.parametrize("share", [0.2, 0.5, 0.999])
def test_a_cut_file_gives_what_its_bytes_hold_and_then_says_that_it_is_cut(ending: str, share: float) -> None:
    text = words(1_000_000)
    packed = PACKERS[ending](text)
    got, message = read_until_damage(packed[: int(len(packed) * share)], ending)
    assert text.startswith(got)
    assert "in the middle" in message
    assert len(got) > share * len(text) - 300_000  # a block of zstd's or two, the coarsest here


@formats
def test_damage_in_the_second_frame_costs_nothing_of_the_first(ending: str) -> None:
    first, second = words(200_000), words(200_001)
    pack = PACKERS[ending]
    packed = bytearray(pack(first) + pack(second))
    start = len(pack(first))
    packed[start + 40 : start + 80] = bytes(40)
    got, message = read_until_damage(bytes(packed), ending)
    assert got[: len(first) - 1] == first[:-1]
    assert message


def test_damage_in_a_later_block_of_one_frame_costs_nothing_of_the_blocks_before() -> None:
    text = words(1_000_000)
    packed = bytearray(PACKERS[".zst"](text))
    packed[len(packed) // 2 : len(packed) // 2 + 60] = bytes(60)
    got, message = read_until_damage(bytes(packed), ".zst")
    assert len(got) >= 2 * 128 * 1024 - 1  # whole blocks of 128 KiB
    assert text.startswith(got[: 2 * 128 * 1024 - 1])
    assert message


def test_garbage_under_a_compressed_name_is_damage_and_under_a_plain_one_text() -> None:
    assert read_until_damage(b"\x01\x02garbage", "RS.zst")[1]
    assert read_until_damage(b"\x01\x02garbage", "RS.json") == (b"\x01\x02garbage", "")
    assert read_until_damage(b'{"id": 1}', "RS.zst") == (b'{"id": 1}', "")


def test_a_frame_that_needs_a_window_of_2_gib_is_accepted() -> None:
    settings = zstandard.ZstdCompressionParameters.from_level(1, window_log=31, enable_ldm=True)
    packer = zstandard.ZstdCompressor(compression_params=settings).compressobj()  # size unknown: window kept
    packed = packer.compress(b'{"id": 1}\n') + packer.flush()
    assert zstandard.get_frame_parameters(packed).window_size == 2**31
    assert read_until_damage(packed, "") == (b'{"id": 1}\n', "")


def test_skippable_frames_are_skipped() -> None:
    skippable = b"\x53\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"hello"
    text = words(1_000)
    assert read_until_damage(skippable + zstandard.compress(text) + skippable, "") == (text, "")


def test_pieces_stay_small_whatever_the_ratio() -> None:
    packed = zstandard.compress(bytes(100_000_000))
    assert len(packed) < 10_000
    assert max(map(len, decompress(io.BytesIO(packed)))) <= STEP_BYTES


def test_xz_that_asks_for_a_dictionary_of_4_gib_is_damage_and_the_largest_of_xz_itself_is_not() -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 64 * 2**20}]
    packed = lzma.compress(b"{}\n", filters=filters)
    assert read_until_damage(packed, ".xz") == (b"{}\n", "")
    # A block's header: its size, flags, the filter's id, size of properties, the dictionary; CRC-32 last.
    start = packed.index(b"\x21\x01", 12)
    header = bytearray(packed[12 : 12 + 4 * (packed[12] + 1)])
    header[start - 12 + 2] = 40  # 4 GiB less one byte
    header[-4:] = zlib.crc32(header[:-4]).to_bytes(4, "little")
    hostile = packed[:12] + bytes(header) + packed[12 + len(header) :]
    found, damage = read_until_damage(hostile, ".xz")
    assert found == b""
    assert "memory" in damage.lower()
