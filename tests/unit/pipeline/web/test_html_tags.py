"""Tags are passed over in runs, and none is missed for it."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.web.html_tags import _RAW, _attributes, _tags, start_tags

PIECES = [
    *(b"<", b">", b'"', b"'", b"=", b"/", b" ", b"x", b"\n", b'<a href="', b"<b>", b"</p>", b"<metaphor a>"),
    *(
        b"<meta name=robots content=noindex>",
        b"<meta",
        b"</meta>",
        b"<!--",
        b"-->",
        b"<!>",
        b"<?",
        b"<3",
        b"</",
    ),
    *(b"<script>", b"</script>", b"<title>", b"</title>", b"<style>", b"</style>", b"<plaintext>"),
]


@given(st.lists(st.sampled_from(PIECES), max_size=16).map(b"".join))
def test_run_of_other_tags_hides_none(page: bytes) -> None:
    one_by_one = [_attributes(page, start, end) for name, start, end in _tags(page, _RAW) if name == b"meta"]
    assert list(start_tags(page, b"meta")) == one_by_one


def test_tag_in_the_quotes_of_another_is_none() -> None:
    page = b"""<a title="<meta name='x'>">b</a><meta name="y">"""
    assert list(start_tags(page, b"meta")) == [{b"name": b"y"}]


@pytest.mark.parametrize(
    "piece", [b"<a ", b'<a x="', b"<", b"<a>", b"<a b=' <meta>", b"<!", b"<a x=y x", b"</", b"<meta ", b"x<3"]
)
def test_time_is_in_proportion_to_the_page(piece: bytes) -> None:
    started = time.process_time()
    list(start_tags(piece * (1_000_000 // len(piece)), b"meta"))
    assert time.process_time() - started < 2
