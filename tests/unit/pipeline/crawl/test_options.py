import dataclasses

from pipeline.crawl.options import CrawlOptions


def test_crawls_of_version_0_1_are_known_again() -> None:
    """Their links have what these options decide, under the fingerprint of that version."""
    assert CrawlOptions().fingerprint() == "401662fb53137622"


def test_only_what_decides_which_links_get_a_page_changes_the_fingerprint() -> None:
    ours = CrawlOptions()
    assert dataclasses.replace(ours, delay_s=9.0, contact="a@b.example").fingerprint() == ours.fingerprint()
    assert dataclasses.replace(ours, give_up_after_opt_outs=3).fingerprint() != ours.fingerprint()
