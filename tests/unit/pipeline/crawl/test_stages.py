"""What the shell of the gather stages decides itself."""

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from pipeline.crawl.stages import ROUTED, in_turns


def links(sizes: dict[str, int]) -> pa.Table:
    rows = [
        dict.fromkeys(ROUTED.names) | {"url": f"http://{name}/{n}", "domain": name, "hops": ["http://x/"]}
        for name, size in sizes.items()
        for n in range(size)
    ]
    return pa.Table.from_pylist(rows, schema=ROUTED)


@given(st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 12)))
def test_every_domain_has_its_nth_link_before_any_has_another(sizes: dict[str, int]) -> None:
    ordered = in_turns(links(sizes))
    assert all(link.hops == ("http://x/",) for link in ordered)
    urls = [link.url for link in ordered]
    assert sorted(urls) == sorted(links(sizes)["url"].to_pylist())
    seen: dict[str, int] = {}
    turns = []
    for url in urls:
        domain = url.split("/")[2]
        seen[domain] = seen.get(domain, 0) + 1
        turns.append(seen[domain])
    assert turns == sorted(turns)


def test_giant_domain_does_not_stand_before_the_others() -> None:
    ordered = in_turns(links({"giant": 5_000} | {f"small{n}": 2 for n in range(50)}))
    last_small = max(place for place, link in enumerate(ordered) if "small" in link.url)
    assert last_small < 2 * 51
