import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenizer.bpe.encoder import Encoder
from trainer.evaluation import texts
from trainer.evaluation.texts import (
    at_word_ends,
    open_enwik8,
    open_one_billion_words,
    open_penn_treebank,
    open_text,
    open_text8,
    open_wikitext,
)

WIKITEXT = (
    " \n = The <unk> = \n \n A long @-@ serving ferry , 1 @,@ 200 . \n \n = = Later = = \n \n It sank . \n"
)
PTB = " no it was n't black monday \n the dow plunged N points \n"
BILLION = "It sank , he said .\nDon 't !\n"


def read(text: texts.Text) -> bytes:
    return b"|".join(b"".join(document) for document in text.documents())


def test_wikitext_becomes_running_text_and_counts_what_its_paper_counts(tmp_path):
    (tmp_path / "wiki.test.tokens").write_text(WIKITEXT)
    text = open_wikitext(str(tmp_path))
    assert read(text).decode() == (
        "\n= The <unk> =\n\nA long-serving ferry, 1,200.\n\n== Later ==\n\nIt sank.\n"
    )
    assert (text.words, text.line_ends) == (len(WIKITEXT.split()), 8)
    assert text.canonical_words == len(WIKITEXT.replace("\n", " <eos> ").split())
    assert text.size_bytes == text.characters == len(WIKITEXT)
    assert "<unk>" in text.split


def test_wikitext_from_parquet_is_the_same(tmp_path):
    (tmp_path / "wiki.test.tokens").write_text(WIKITEXT)
    rows = [line if line.strip() else "" for line in WIKITEXT.splitlines(keepends=True)]
    pq.write_table(pa.table({"text": rows}), tmp_path / "test.parquet")
    found, expected = open_wikitext(str(tmp_path / "test.parquet")), open_wikitext(str(tmp_path))
    assert read(found) == read(expected)
    assert found.canonical_words == expected.canonical_words


def test_without_detokenizing_a_set_stays_as_published(tmp_path):
    (tmp_path / "wiki.test.tokens").write_text(WIKITEXT)
    text = open_wikitext(str(tmp_path), detokenize=False)
    assert read(text).decode() == WIKITEXT
    assert text.detokenizer == "none"


def test_penn_treebank_and_one_billion_words_are_read_as_published(tmp_path):
    (tmp_path / "ptb.test.txt").write_text(PTB)
    (tmp_path / "news.en.heldout-00000-of-00050").write_text(BILLION)
    ptb, billion = open_penn_treebank(str(tmp_path)), open_one_billion_words(str(tmp_path))
    assert read(ptb) == b"no it wasn't black monday\nthe dow plunged N points\n"
    assert read(billion) == b"It sank, he said.\nDon't!\n"
    assert (ptb.canonical_words, billion.canonical_words) == (11 + 2, 9 + 2)


def test_of_whole_enwik8_and_text8_the_last_part_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(texts, "WHOLE_BYTES", 100)
    monkeypatch.setattr(texts, "TEST_BYTES", 10)
    (tmp_path / "enwik8").write_bytes(b"<mediawiki".ljust(90, b"x") + "é<a> wé".encode() + b"\xc3")
    (tmp_path / "text8").write_bytes(b"a" * 90 + b"last words")
    enwik8, text8 = open_enwik8(str(tmp_path)), open_text8(str(tmp_path))
    assert read(enwik8) == "é<a> wé".encode() + b"\xc3"
    assert (enwik8.size_bytes, enwik8.characters) == (10, 8)
    assert read(text8) == b"last words"
    assert text8.characters == 10


def test_a_part_of_enwik8_or_text8_is_read_whole(tmp_path):
    (tmp_path / "text8").write_bytes(b"last words")
    assert read(open_text8(str(tmp_path))) == b"last words"


def test_any_text_is_one_document_and_json_lines_are_many(tmp_path):
    (tmp_path / "a.txt").write_text("one two\nthree é\n")
    rows = [{"text": "one"}, {"text": ""}, {"text": "two é"}]
    (tmp_path / "b.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    plain, lines = open_text(str(tmp_path / "a.txt")), open_text(str(tmp_path / "b.jsonl"))
    assert read(plain).decode() == "one two\nthree é\n"
    assert (plain.words, plain.characters, plain.size_bytes) == (4, 16, 17)
    assert read(lines).decode() == "one|two é"
    assert (lines.words, lines.characters, lines.size_bytes) == (3, 8, 9)


@given(st.lists(st.text("ab'é\u2003 \n", max_size=30)), st.integers(1, 20))
def test_pieces_cut_at_word_ends_encode_as_the_whole_does(vocabulary, parts, block):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(texts, "BLOCK_BYTES", block)
        pieces = list(at_word_ends(iter(part.encode() for part in parts)))
    whole = "".join(parts).encode()
    encoder = Encoder(vocabulary)
    assert b"".join(pieces) == whole
    assert [token for piece in pieces for token in encoder.encode(piece)] == list(encoder.encode(whole))


def test_a_text_without_any_space_is_refused_before_it_fills_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(texts, "LONGEST_WORD_BYTES", 2 * texts.BLOCK_BYTES)
    (tmp_path / "a.txt").write_bytes(b"x" * (3 * texts.BLOCK_BYTES))
    with pytest.raises(ValueError, match="without a space"):
        open_text(str(tmp_path / "a.txt"))


BAD = [
    (open_wikitext, b"", "is empty: expected WikiText's test split"),
    (open_wikitext, b"No heading here .\n", "has no heading such as"),
    (open_wikitext, b" = A = \n caf\xe9 \n", "line 2, is not UTF-8"),
    (open_wikitext, gzip.compress(b" = A = \n", mtime=0), r"is compressed \(gzip\): decompress it first"),
    (open_wikitext, b"PAR1 and no more", "is damaged"),
    (open_penn_treebank, WIKITEXT.encode(), "line 2, has the capitals of 'The': expected PTB's"),
    (open_one_billion_words, b"not tokenized.\n", "expected a held-out part of the One Billion"),
    (open_enwik8, b"x" * 5_000_001, "has 5,000,001 bytes: expected enwik8"),
    (open_text8, b"Capitals", "holds the byte b'C': expected text8"),
    (open_text8, b"PK\x03\x04...", "decompress it first"),
    (open_text, b"", "is empty"),
    (open_text, b"caf\xe9 noir", "is not UTF-8"),
]


@pytest.mark.parametrize(("opener", "content", "message"), BAD)
def test_another_layout_is_told_with_what_was_expected(tmp_path, opener, content, message):
    (tmp_path / "set").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        opener(str(tmp_path / "set"))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("not json", "line 1, is not JSON"),
        ('["text"]', "line 1, has no 'text'"),
        ('{"txt": "a"}', "line 1, has no 'text'"),
        ('{"text": 5}', "'text' is not text"),
        ('{"text": ""}', "has no text"),
    ],
)
def test_bad_json_lines_are_told_by_their_number(tmp_path, line, message):
    (tmp_path / "a.jsonl").write_text(line + "\n")
    with pytest.raises(ValueError, match=message):
        open_text(str(tmp_path / "a.jsonl"))


def test_a_missing_file_and_a_folder_without_the_set_are_mistakes(tmp_path):
    with pytest.raises(ValueError, match="does not exist: expected WikiText"):
        open_wikitext(str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match=r"has none of ptb\.test\.txt"):
        open_penn_treebank(str(tmp_path))


def test_a_line_beyond_all_measure_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("trainer.evaluation.files.LONGEST_LINE_BYTES", 1000)
    (tmp_path / "set").write_text(" = A = \n" + "x " * 1000)
    with pytest.raises(ValueError, match="line 2, is longer than 64 MiB"):
        open_wikitext(str(tmp_path / "set"))
