"""Content codings: undone as browsers do, never beyond the bound."""

import gzip
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.web.content_coding import CodingError, TooLargeError, decode


def bare_deflate(body: bytes) -> bytes:
    return zlib.compress(body, wbits=-15)


ENCODERS = {"gzip": gzip.compress, "x-gzip": gzip.compress, "deflate": zlib.compress, "identity": bytes}


@settings(deadline=None)
@given(st.binary(max_size=2000), st.lists(st.sampled_from(sorted(ENCODERS)), max_size=3))
def test_decode_undoes_codings_in_reverse(body: bytes, codings: list[str]) -> None:
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


@pytest.mark.parametrize("body", [b"", b"\x1f\x8b", b"<html>", gzip.compress(b"x" * 999, mtime=0)[:-1]])
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


def test_unknown_coding_is_an_error() -> None:
    with pytest.raises(CodingError, match="rot13"):
        decode(b"x", "rot13", 10)
