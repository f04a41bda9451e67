"""What the shell of the gather stages decides itself."""

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from pipeline.gather.steps import in_turns


def links(sizes: dict[str, int]) -> pa.Table:
    rows = [
        {"url": f"http://{name}/{n}", "domain": name} for name, size in sizes.items() for n in range(size)
    ]
    return pa.Table.from_pylist(rows, schema=pa.schema([("url", pa.string()), ("domain", pa.string())]))


@given(st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 12)))
def test_every_domain_has_its_nth_link_before_any_has_another(sizes: dict[str, int]) -> None:
    urls = in_turns(links(sizes))
    assert sorted(urls) == sorted(links(sizes)["url"].to_pylist())
    seen: dict[str, int] = {}
    turns = []
    for url in urls:
        domain = url.split("/")[2]
        seen[domain] = seen.get(domain, 0) + 1
        turns.append(seen[domain])
    assert turns == sorted(turns)


def test_giant_domain_does_not_stand_before_the_others() -> None:
    urls = in_turns(links({"giant": 5_000} | {f"small{n}": 2 for n in range(50)}))
    last_small = max(place for place, url in enumerate(urls) if "small" in url)
    assert last_small < 2 * 51
