"""Our SURTs of canonical addresses are those of the library that Common Crawl's index is made with."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from surt import surt

from pipeline.common_crawl.surt import around, stem_of, stems_of, surt_of
from pipeline.runner.records import Drop
from pipeline.web.urls import parse

HEX = "0123456789abcdef" * 2
SEGMENTS = st.sampled_from(
    [
        "a",
        "Index.html",
        "www.",
        "%7Efoo",
        "%C3%A9t%C3%A9",
        "é",
        "..",
        ".",
        "",
        "(a)",
        "%2F",
        "%25",
        "%2525",
        "a b",
        "(A(abcdefghijklmnopqrstuvwx))",
        "(abcdefghijklmnopqrstuvwx)",
        "page.aspx",
        "x;y=z",
        "+",
        "@",
        "~u",
        "'q",
        "{x}",
        "|",
        "[1]",
        "\\",
        "%E9",
        "%",
        "%zz",
    ]
) | st.text(max_size=5)
PARAMETERS = st.sampled_from(
    [
        "a=1",
        "b",
        f"sid={HEX}",
        f"PHPSESSID={HEX}",
        "z=%20x",
        "Q=A",
        "=",
        "utm_source=x",
        "cfid=12&cftoken=34",
        "id=",
        f"jsessionid={HEX.upper()}",
        "a=b=c",
        "%C3%A9=%E9",
        "x[]=1",
        "%5B",
        "",
        "a=?b",
        "ASPSESSIONIDABCDEFGH=" + 24 * "x",
    ]
) | st.text(max_size=5)
HOSTS = st.sampled_from(
    [
        "example.com",
        "www.example.com",
        "www3.Example.co.uk",
        "wwwfoo.com",
        "1.2.3.4",
        "xn--bcher-kva.de",
        "ex.com:8080",
        "www.com",
        "ftp.www.com",
        "[2001:db8::1]",
        "a_b.com",
        "bücher.de",
        "www.www.example.com",
        "example.com:443",
    ]
)


@given(
    st.sampled_from(["http", "https"]),
    HOSTS,
    st.lists(SEGMENTS, max_size=5),
    st.lists(PARAMETERS, max_size=4),
)
def test_surt_of_a_canonical_address_is_the_librarys(
    scheme: str, host: str, segments: list[str], parameters: list[str]
) -> None:
    query = f"?{'&'.join(parameters)}" if parameters else ""
    address = parse(f"{scheme}://{host}/{'/'.join(segments)}{query}")
    if not isinstance(address, Drop):
        assert surt_of(address.key) == surt(address.url)


@pytest.mark.parametrize(
    "captured",
    [
        "http://example.com/a/b?id=3&utm_source=x",
        "http://example.com/a/b?fbclid=abc&id=3",
        "http://www.example.com/a/b/?id=3",
        "https://example.com/a/b;jsessionid=ABC?id=3",
        "http://example.com/a/b?id=3&zzz",
    ],
)
def test_surt_of_a_link_lies_in_the_range_around_each_of_its_captures(captured: str) -> None:
    low, high = around(surt(captured), surt(captured))
    assert low <= surt_of("example.com/a/b?id=3") <= high
    assert not low <= surt_of("example.com/a/c?id=3") <= high


@given(st.lists(st.text("a?;é", max_size=6)))
def test_stems_of_many_surts_are_the_stems_of_each(surts: list[str]) -> None:
    stems = stems_of(pa.array(surts, pa.string())).to_pylist()
    assert sorted(stems) == sorted({stem_of(surt) for surt in surts})
