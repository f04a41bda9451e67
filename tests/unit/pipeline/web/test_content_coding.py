"""Content codings: undone as browsers do, never beyond the bound."""

import gzip
import sys
import time
import zlib

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline.web.content_coding import (
    GZIP_MAGIC,
    MAX_CODINGS,
    MAX_MEMBERS,
    ZSTD_MAGIC,
    CodingError,
    TooLargeError,
    decode,
)

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


def bare_deflate(body: bytes) -> bytes:
    return zlib.compress(body, wbits=-15)


ENCODERS = {"gzip": gzip.compress, "x-gzip": gzip.compress, "deflate": zlib.compress, "identity": bytes}


@settings(deadline=None)
@given(st.binary(max_size=2000), st.lists(st.sampled_from(sorted(ENCODERS)), max_size=3))
def test_decode_undoes_codings_in_reverse(body: bytes, codings: list[str]) -> None:
    assume(not body.startswith((GZIP_MAGIC, ZSTD_MAGIC)))  # which are decoded, whatever is said
    encoded = body
    for coding in codings:
        encoded = ENCODERS[coding](encoded)
    assert decode(encoded, ", ".join(codings).upper(), 10_000) == body


@settings(deadline=None)
@given(st.binary(max_size=2000))
def test_bare_deflate_is_understood(body: bytes) -> None:
    assert decode(bare_deflate(body), "deflate", 10_000) == body


def test_members_are_joined_and_padding_ignored() -> None:
    assert decode(gzip.compress(b"one ") + gzip.compress(b"two") + bytes(10), "gzip", 100) == b"one two"


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_bound_is_exact(coding: str) -> None:
    body = ENCODERS[coding](bytes(1000))
    assert decode(body, coding, 1000) == bytes(1000)
    with pytest.raises(TooLargeError):
        decode(body, coding, 999)


@pytest.mark.parametrize(
    "body", [b"", b"\x1f\x8b", b"\x1f\x8b\x08<html>", gzip.compress(b"x" * 999, mtime=0)[:-1]]
)
def test_broken_gzip_is_an_error_or_empty(body: bytes) -> None:
    if body:
        with pytest.raises(CodingError):
            decode(body, "gzip", 10_000)
    else:
        assert decode(body, "gzip", 10_000) == b""


def test_beginning_can_be_had_of_what_is_cut_or_too_long() -> None:
    encoded = gzip.compress(b"line\n" * 1000, compresslevel=0)
    assert decode(encoded[:2000], "gzip", 10_000, cut=True).startswith(b"line\n" * 100)
    assert decode(encoded, "gzip", 50, cut=True) == b"line\n" * 10


HTML = b"<!DOCTYPE html><html><body><p>One story, as it is.</p></body></html>"


@pytest.mark.parametrize(
    "said", ["none", "gzip", "deflate", "br", "zstd", "utf8", "8bit", "rot13", "gzip, br"]
)
@pytest.mark.parametrize(
    "body", [HTML, b"\xef\xbb\xbf\r\n" + HTML, HTML.decode().encode("utf-16"), b"User-agent: *"]
)
def test_bytes_that_are_plain_are_taken_as_they_are_whatever_is_said(said: str, body: bytes) -> None:
    assert decode(body, said, 10_000) == body


@pytest.mark.parametrize("said", ["", "none", "deflate", "br", "gzip, gzip", "utf-8"])
def test_bytes_that_are_gzip_are_inflated_whatever_is_said(said: str) -> None:
    assert decode(gzip.compress(HTML), said, 10_000) == HTML


@pytest.mark.parametrize("said", ["rot13", "compress", "gzip", "zstd"])
def test_bytes_in_a_coding_that_is_not_known_are_an_error(said: str) -> None:
    with pytest.raises(CodingError, match=said):
        decode(zlib.compress(HTML), said, 10_000)


def test_plain_bodies_are_bounded_too() -> None:
    with pytest.raises(TooLargeError):
        decode(HTML, "gzip", len(HTML) - 1)


EMPTY = {"gzip": gzip.compress(b"", mtime=0), "deflate": zlib.compress(b""), "zstd": zstd.compress(b"")}


@pytest.mark.parametrize("coding", sorted(EMPTY))
def test_time_is_in_proportion_to_empty_members(coding: str) -> None:
    """A copy of the rest for each member would take minutes for the greater number of them."""

    def seconds(members: int) -> float:
        body = EMPTY[coding] * members
        started = time.process_time()
        assert decode(body, coding, 10_000) == b""
        return time.process_time() - started

    assert seconds(40_000) < 20 * seconds(4_000) + 0.2
    with pytest.raises(CodingError, match="members"):
        decode(EMPTY[coding] * (MAX_MEMBERS + 1), coding, 10_000)


def test_run_of_empty_members_within_a_coding_ends_soon_and_content_after_a_few_is_found() -> None:
    started = time.process_time()
    with pytest.raises(CodingError):
        decode(zlib.compress(EMPTY["deflate"] * 2_000_000), "deflate, deflate", 2**24)
    assert time.process_time() - started < 2
    assert decode(EMPTY["gzip"] * 1_000 + gzip.compress(HTML), "gzip", 10_000) == HTML


def test_long_chain_of_codings_is_refused() -> None:
    with pytest.raises(CodingError, match="codings"):
        decode(HTML, ", ".join(["gzip"] * (MAX_CODINGS + 1)), 10_000)
