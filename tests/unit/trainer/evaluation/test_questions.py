import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trainer.evaluation.questions import (
    Choice,
    Passage,
    open_childrens_book_test,
    open_hellaswag,
    open_lambada,
)

WORDS = ["ferry", "bay", "captain"]
CLOZE = "`` Look , '' said the XXXXX , `` it 's XXXXX !"


def cloze_lines(question: str = f"{CLOZE}\tbay\t\t{'|'.join(WORDS)}") -> str:
    sentences = [f"{number} The bell did n't ring -LRB- {number} -RRB- .\n" for number in range(1, 21)]
    return "".join([*sentences, f"21 {question}\n", "\n"])


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_running_lambada_is_cut_before_its_last_word(tmp_path):
    path = write_lines(tmp_path / "lambada_test.jsonl", [{"text": "“Hold on,” he\nsaid to the captain"}])
    assert open_lambada(path).examples == [Passage(text="“Hold on,” he\nsaid to the", word="captain")]
    found = open_lambada(str(tmp_path), preprocessing="openai")
    assert found.examples == [Passage(text='\n"Hold on," he\nsaid to the', word="captain")]
    assert "not invertible" in found.detokenizer


def test_the_original_lambada_is_joined_before_its_last_word(tmp_path):
    path = tmp_path / "lambada_test_plain_text.txt"
    path.write_text("`` i do n't know , '' he said to the captain\n\n")
    assert open_lambada(str(path)).examples == [
        Passage(text='"i don\'t know," he said to the', word="captain")
    ]
    as_published = open_lambada(str(path), detokenize=False).examples
    assert as_published == [Passage(text="`` i do n't know , '' he said to the", word="captain")]


def test_preprocessing_of_running_text_is_refused_for_tokenized_text(tmp_path):
    (tmp_path / "lambada_test_plain_text.txt").write_text("he did n't speak\n")
    with pytest.raises(ValueError, match=r"is tokenized, but OpenAI's preprocessing is for running text"):
        open_lambada(str(tmp_path), preprocessing="openai")


def test_each_candidate_of_the_childrens_book_test_ends_the_same_text(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/cbtest_NE_valid_2000ex.txt").write_text(cloze_lines() * 2)
    found = open_childrens_book_test(str(tmp_path), "NE")
    assert found.split == "validation"
    assert len(found.examples) == 2
    example = found.examples[0]
    assert example.text.startswith("The bell didn't ring (1). The bell didn't ring (2).")
    assert example.text.endswith('(20). "Look," said the')
    assert example.endings == tuple(f" {word}, \"it's {word}!" for word in WORDS)
    assert example.answer == 1


def test_a_candidate_behind_an_opening_quotation_is_scored_with_it(tmp_path):
    path = tmp_path / "cbtest_CN_valid_2000ex.txt"
    path.write_text(cloze_lines("`` XXXXX ? ''\tbay\t\t" + "|".join(WORDS)))
    example = open_childrens_book_test(str(path), "CN").examples[0]
    assert example.text.endswith("(20).")
    assert example.endings == (' "ferry?"', ' "bay?"', ' "captain?"')


def test_parquet_of_the_childrens_book_test_is_the_same(tmp_path):
    (tmp_path / "cbtest_CN_valid_2000ex.txt").write_text(cloze_lines())
    sentences = [line.partition(" ")[2] for line in cloze_lines().splitlines()[:20]]
    row = {"sentences": [sentences], "question": [CLOZE], "answer": ["bay"], "options": [WORDS]}
    pq.write_table(pa.table(row), tmp_path / "validation.parquet")
    found = open_childrens_book_test(str(tmp_path / "validation.parquet"), "CN")
    assert found.examples == open_childrens_book_test(str(tmp_path), "CN").examples


def test_hellaswag_is_read_from_lines_and_from_parquet(tmp_path):
    row = {"ctx": "A man is on a roof. he", "endings": ["falls.", "sings."], "label": 1}
    path = write_lines(tmp_path / "hellaswag_val.jsonl", [row])
    expected = [Choice(text="A man is on a roof. he", endings=(" falls.", " sings."), answer=1)]
    assert open_hellaswag(path).examples == expected
    table = pa.table({"ctx": [row["ctx"]], "endings": [row["endings"]], "label": ["1"]})
    pq.write_table(table, tmp_path / "validation-00000-of-00001.parquet")
    assert open_hellaswag(str(tmp_path / "validation-00000-of-00001.parquet")).examples == expected


def evaluation_file(examples) -> bytes:
    """What llm.c's write_evalfile writes."""
    stream = []
    for index, (label, text, endings) in enumerate(examples):
        example = [65535, 0, index, label, len(endings), len(text), *text]
        for ending in endings:
            example += [len(ending), *ending]
        example[1] = 2 * len(example)
        stream += example
    header = np.zeros(256, "<i4")
    header[:3] = 20240522, 1, len(examples)
    return header.tobytes() + np.array(stream, "<u2").tobytes()


EXAMPLES = [(2, [5, 6, 7], [[1], [2, 3], [4], [8]]), (0, [9], [[1, 1], [2], [3], [4]])]


def test_llm_c_evaluation_file_is_read(tmp_path):
    (tmp_path / "hellaswag_val.bin").write_bytes(evaluation_file(EXAMPLES))
    found = open_hellaswag(str(tmp_path))
    assert found.examples == [
        Choice(text=[5, 6, 7], endings=([1], [2, 3], [4], [8]), answer=2),
        Choice(text=[9], endings=([1, 1], [2], [3], [4]), answer=0),
    ]
    assert "vocabulary" in found.notes[0]


@pytest.mark.parametrize("length", [1000, 1030, 1040, len(evaluation_file(EXAMPLES)) - 2])
def test_a_cut_evaluation_file_is_told(tmp_path, length):
    (tmp_path / "hellaswag_val.bin").write_bytes(evaluation_file(EXAMPLES)[:length])
    with pytest.raises(ValueError, match=r"truncated or damaged|not an llm.c evaluation file"):
        open_hellaswag(str(tmp_path))


BAD_LINES = [
    (open_lambada, '{"text": "alone"}', "example 1: the passage has fewer than two words; expected LAMBADA"),
    (open_lambada, "alone", "example 1: the passage has fewer than two words"),
    (open_lambada, '{"passage": "a b"}', "line 1, has no 'text'"),
    (
        open_hellaswag,
        '{"ctx": "a", "endings": ["b", "c"], "label": ""}',
        "example 1: .*expected HellaSwag",
    ),
    (open_hellaswag, '{"ctx": "a", "endings": ["b", "c"], "label": 2}', "an invalid label"),
    (open_hellaswag, '{"ctx": "a", "endings": ["b", "c"]}', "line 1, has no 'label'"),
]


@pytest.mark.parametrize(("opener", "line", "message"), BAD_LINES)
def test_bad_questions_are_told_by_their_number(tmp_path, opener, line, message):
    (tmp_path / "set").write_text(line + "\n")
    with pytest.raises(ValueError, match=message):
        opener(str(tmp_path / "set"))


BAD_CLOZES = [
    ("Just a text of some sort.\n", "line 1, is not sentence 1: expected the Children's Book Test"),
    (cloze_lines().replace("\n7 ", "\n8 "), "line 7, is not sentence 7"),
    (cloze_lines(f"{CLOZE}\tbell\t\tferry|bay"), "example 1: its answer is not among several candidates"),
    (cloze_lines("No blank .\tbay\t\tferry|bay"), "it has no XXXXX to fill in"),
    ("".join(cloze_lines().splitlines(keepends=True)[:5]), "ends in the middle of a question"),
]


@pytest.mark.parametrize(("content", "message"), BAD_CLOZES)
def test_another_layout_of_the_childrens_book_test_is_told(tmp_path, content, message):
    (tmp_path / "set").write_text(content)
    with pytest.raises(ValueError, match=message):
        open_childrens_book_test(str(tmp_path / "set"), "CN")


def test_tokenized_lambada_in_parquet_is_not_taken_for_running_text(tmp_path):
    table = pa.table({"text": ["i do n't know the captain"], "domain": ["mystery"]})
    pq.write_table(table, tmp_path / "test-00000-of-00001.parquet")
    found = open_lambada(str(tmp_path / "test-00000-of-00001.parquet"))
    assert found.examples == [Passage(text="i don't know the", word="captain")]
    assert found.detokenizer == "Stanford"
