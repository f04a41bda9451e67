from pathlib import Path

import pytest

from pipeline.web.blocklist import load_blocklist, profiles

WEBTEXT = load_blocklist("webtext")


@pytest.mark.parametrize(
    ("reason", "hosts"),
    [
        ("Reddit", "www.reddit.com old.reddit.com np.reddit.com redd.it en.reddit.com"),
        (
            "Wikipedia",
            "en.wikipedia.org de.m.wikipedia.org zh-min-nan.wikipedia.org en.zero.wikipedia.org",
        ),
        (
            "Wikipedia",
            "www.wikiwand.com en.wapedia.mobi secure.wikimedia.org en-m-wikipedia-org.translate.goog",
        ),
        (
            "media host",
            "i.redd.it i.imgur.com m.youtube.com youtu.be farm5.staticflickr.com gfycat.com vimeo.com",
        ),
        ("adult site", "www.pornhub.com something.xxx"),
    ],
)
def test_webtext_leaves_out_each_host_for_its_reason(reason: str, hosts: str) -> None:
    assert {host: WEBTEXT.host_reject_reason(host) for host in hosts.split()} == dict.fromkeys(
        hosts.split(), reason
    )


@pytest.mark.parametrize(
    "hosts",
    [
        "www.google.com docs.google.com news.google.com github.com someone.github.io www.ebay.com",
        "bit.ly t.co goo.gl tinyurl.com ow.ly is.gd amzn.to nyti.ms",
        "web.archive.org pastebin.com medium.com a.blogspot.com wiktionary.org wikimediafoundation.org",
        "notreddit.com wikipedia.example.com myimgur.com netflix.company.com xkcd.com stardewvalleywiki.com",
    ],
)
def test_webtext_keeps_what_webtext_kept_and_what_only_looks_alike(hosts: str) -> None:
    assert [host for host in hosts.split() if WEBTEXT.host_reject_reason(host)] == []


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/a.jpg", "media file"),
        ("/a.JPEG", "media file"),
        ("/film.mp4", "media file"),
        ("/paper.pdf", "document file"),
        ("/web/2012/http://en.wikipedia.org/wiki/Cake", "Wikipedia"),
        ("/jpg", None),
        ("/a.jpg/comments", None),
        ("/v1.2/news", None),
        ("/story.html", None),
        ("/expressjs/node.js", None),
        ("/", None),
    ],
)
def test_paths_are_judged_by_their_last_part(path: str, reason: str | None) -> None:
    assert WEBTEXT.path_reject_reason("a.com", path) == reason


def test_subreddits_are_known_in_any_case() -> None:
    assert WEBTEXT.subreddit_reject_reason("NSFW") == "adult subreddit"
    assert WEBTEXT.subreddit_reject_reason("science") is None


def test_one_s_own_file_takes_the_profile_s_place(tmp_path: Path) -> None:
    file = tmp_path / "mine.tsv"
    file.write_text("# mine\nkind\tvalue\treason\twhy\nhost\tExample.org\tboring\tseen it\n")
    mine = load_blocklist(str(file))
    assert mine.host_reject_reason("www.example.org") == "boring"
    assert mine.host_reject_reason("www.reddit.com") is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"host\texample.org\n",
        b"kind\tvalue\treason\twhy\nhost\ta.com\tx\n",
        b"kind\tvalue\treason\twhy\nhots\ta\tb\tc\n",
        b"\xff",
    ],
)
def test_a_file_that_is_no_blocklist_is_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "mine.tsv"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"mine\.tsv"):
        load_blocklist(str(file))


def test_an_unknown_profile_is_answered_with_those_there_are() -> None:
    assert profiles() == ["webtext"]
    with pytest.raises(ValueError, match=r"webtex: .* webtext"):
        load_blocklist("webtex")
