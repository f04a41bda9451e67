import json

import pytest

from trainer.evaluation.paper import PUBLISHED, REMARKS, SIZES
from trainer.evaluation.suite import SetOptions, open_tasks
from trainer.evaluation.table import as_markdown


@pytest.fixture
def record():
    return {
        "title": "WikiText-2",
        "address": "wiki.test.tokens",
        "split": "test",
        "detokenizer": "WikiText",
        "context": 1024,
        "stride": 512,
        "counts": {"tokens": 283_287, "words": 241_211, "line ends": 4_358},
        "figures": {"perplexity per word": 37.37, "perplexity per token": None, "bits per byte": 1.2345},
        "notes": ["a note of its own"],
    }


def test_figures_stand_beside_the_paper_s(record):
    lines = as_markdown({"model": "GPT-2", "results": {"wikitext2": record}}).splitlines()
    assert lines[0] == "# Zero-shot evaluation of GPT-2"
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("|")]
    assert rows[0] == ["set", "figure", "this model", "117M", "345M", "762M", "1542M"]
    assert rows[2] == ["WikiText-2", "perplexity per word", "37.37", "", "", "", ""]
    assert rows[3] == ["WikiText-2", "perplexity per token", "", "29.41", "22.76", "19.93", "18.34"]
    assert rows[4] == ["WikiText-2", "bits per byte", "1.234", "", "", "", ""]
    assert rows[5] == ["set", "split", "detokenizer", "context", "stride", "tokens", "divided by"]
    counts = "241,211 words, 4,358 line ends"
    assert rows[7] == ["WikiText-2", "test", "WikiText", "1,024", "512", "283,287", counts]
    assert "- WikiText-2: a note of its own" in lines


def test_tables_read_well_unrendered(record):
    lines = as_markdown({"model": "GPT-2", "results": {"wikitext2": record}}).splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert len({len(line) for line in table[:5]}) == len({len(line) for line in table[5:]}) == 1
    assert "| WikiText-2 | perplexity per word  |      37.37 |       |       |       |       |" in table


def test_every_published_figure_belongs_to_a_figure_of_ours(tmp_path):
    (tmp_path / "wiki").write_text(" = A = \n")
    (tmp_path / "ptb").write_text("a b\n")
    (tmp_path / "billion").write_text("a .\n")
    (tmp_path / "text8").write_text("a b")
    (tmp_path / "lambada").write_text("a b\n")
    (tmp_path / "hellaswag").write_text(json.dumps({"ctx": "a", "endings": ["b", "c"], "label": 0}))
    cloze = "".join(f"{number} a b\n" for number in range(1, 21)) + "21 XXXXX\ta\t\ta|b\n"
    (tmp_path / "cbt").write_text(cloze)
    files = {
        "wikitext2": "wiki",
        "wikitext103": "wiki",
        "ptb": "ptb",
        "enwik8": "text8",
        "text8": "text8",
        "one_billion_words": "billion",
        "lambada": "lambada",
        "cbt_common_nouns": "cbt",
        "cbt_named_entities": "cbt",
        "hellaswag": "hellaswag",
    }
    tasks = open_tasks(SetOptions(**{name: str(tmp_path / file) for name, file in files.items()}))
    ours = {(task.name, unit) for task in tasks for unit in task.units}
    assert {key for key in PUBLISHED if key[0] != "lambada"} <= ours
    assert {task.name for task in tasks} >= {task for task, _ in PUBLISHED} | set(REMARKS)
    assert all(len(figures) == len(SIZES) for figures in PUBLISHED.values())
