"""What may be printed of an address."""

import pytest

from pipeline.runner.names import bare, file_name, named, without_digest, without_secrets


@pytest.mark.parametrize(
    ("address", "plain", "name"),
    [
        ("/data/dumps/RS_2012-05.zst", "/data/dumps/RS_2012-05.zst", "RS_2012-05.zst"),
        ("dumps/what?#.zst", "dumps/what?#.zst", "what?#.zst"),  # a local file may be called so
        ("https://host.org/a/RS.zst?X-Amz-Signature=k#x", "https://host.org/a/RS.zst", "RS.zst"),
        ("https://user:pass@host.org:8080/RS.zst", "https://host.org:8080/RS.zst", "RS.zst"),
        ("https://host.org:8080/RS.zst?mail=a@b.org", "https://host.org:8080/RS.zst", "RS.zst"),
        ("s3://KEY:se/cr?et@bucket/folder/", "s3://bucket/folder/", "folder"),
        ("https://user:pass@host.org", "https://host.org", "host.org"),
        ("s3://bucket/RS_*.zst", "s3://bucket/RS_*.zst", "RS_*.zst"),
    ],
)
def test_addresses_are_told_bare_and_files_by_name(address: str, plain: str, name: str) -> None:
    assert (bare(address), file_name(address)) == (plain, name)
    assert (
        without_secrets(f"403 for URL('{address}')").startswith(f"403 for URL('{plain}")
        or "://" not in address
    )


def test_query_in_a_message_is_seen_to_be_left_out() -> None:
    printed = "no dump at https://a:b@host.org/RS.zst?sig=x: give a file"
    assert without_secrets(printed) == "no dump at https://host.org/RS.zst?... give a file"


def test_names_are_unique_and_change_with_no_signature() -> None:
    first = named(["https://host.org/a/RS.zst?sig=1", "https://host.org/b/RS.zst?sig=1"])
    assert list(first) == list(named(["https://host.org/a/RS.zst?sig=2", "https://u:p@host.org/b/RS.zst"]))
    assert len(first) == 2 and {without_digest(name) for name in first} == {"RS.zst"}
    assert len(named(["https://host.org/get?file=1", "https://host.org/get?file=2"])) == 2
    assert max(map(len, named(["/" + "x" * 5_000]))) < 120
