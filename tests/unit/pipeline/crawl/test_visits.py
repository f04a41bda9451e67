"""Where a request goes, whatever a link or a redirect says."""

import pytest

from pipeline.crawl.visits import Target, locate
from pipeline.runner.records import Drop


@pytest.mark.parametrize(
    ("address", "asked"),
    [
        ("http://a.example/x#part", "http://a.example/x"),
        ("http://a.example/x?", "http://a.example/x?"),
        ("http://a.example/x?b=2&a=1#part", "http://a.example/x?b=2&a=1"),
        ("http://a.example/x?a=1#!/story", "http://a.example/x?a=1&_escaped_fragment_=/story"),
        ("http://a.example/#!", "http://a.example/"),
    ],
)
def test_a_page_is_asked_for_under_an_address_that_servers_see(address: str, asked: str) -> None:
    target = locate(address)
    assert isinstance(target, Target) and target.url == asked


@pytest.mark.parametrize("address", ["http://", "ftp://a.example/", "http://u:p@a.example/", "no address"])
def test_what_may_not_be_asked_for_has_no_target(address: str) -> None:
    assert isinstance(locate(address), Drop)
