import math
import tracemalloc

import numpy as np
import pytest
import torch

from tokenizer.bpe.vocabulary import Vocabulary
from trainer.config.model_config import ModelConfig
from trainer.distributed.ranks import Ranks
from trainer.evaluation.questions import Choice, Choices, Passage, Passages
from trainer.evaluation.scoring import Scorer, windows
from trainer.evaluation.suite import EvaluationTask, SetOptions, open_tasks
from trainer.evaluation.tasks import Reader, evaluate
from trainer.evaluation.texts import open_text

ALONE = Ranks(rank=0, size=1, local_rank=0, local_size=1)

# One token a letter but for these, so that what a model has to predict can be written down.
MERGES = [(b" ", b"t"), (b" t", b"h"), (b" th", b"e"), (b" ", b"x"), (b" ", b"y"), (b" x", b"z")]
SIZE = 256 + len(MERGES) + 1


class Bigrams(torch.nn.Module):
    """A model that knows only which token follows which: probabilities given, all else shared out evenly."""

    def __init__(self, vocabulary: Vocabulary, after: dict[bytes, dict[bytes, float]]) -> None:
        super().__init__()
        self.config = ModelConfig(layers=1, heads=1, width=1, context=16, vocabulary=vocabulary.size)
        number = {token: index for index, token in enumerate(vocabulary.tokens)}
        table = torch.full((vocabulary.size, vocabulary.size), 1.0)
        for before, likely in after.items():
            rest = (1 - sum(likely.values())) / (vocabulary.size - len(likely))
            table[number[before]] = rest
            for token, probability in likely.items():
                table[number[before], number[token]] = probability
        self.logits = torch.nn.Parameter(table.log(), requires_grad=False)
        self.wte = torch.nn.Linear(vocabulary.size, vocabulary.size, bias=False)
        self.wte.weight.requires_grad_(False)
        torch.nn.init.eye_(self.wte.weight)

    def features(self, tokens):
        return self.logits[tokens]


@pytest.fixture(scope="module")
def letters() -> Vocabulary:
    return Vocabulary(MERGES)


def ask(letters, after, content, units=()):
    model = Bigrams(letters, after)
    task = EvaluationTask(name="made", title="Made", content=content, units=units)
    seen = []
    result = evaluate(
        task, Scorer(model, ALONE, context=16, stride=16, batch=2), Reader(letters), seen.append
    )
    assert sum(seen) == task.work[0]
    return result


def passages(*examples):
    made = [Passage(text=text, word=word) for text, word in examples]
    return Passages(address="", examples=made, split="", detokenizer="")


# After "a" most likely "the", then "x", then "y"; "x" goes on with "z" or does not.
AFTER = {
    b"a": {b" the": 0.5, b" x": 0.3, b" y": 0.1},
    b"b": {b" y": 0.6, b" the": 0.2},
    b" y": {b"z": 0.7},
    b"c": {b" x": 0.1, b" the": 0.4, b" t": 0.3},
}


def test_lambada_is_scored_by_word_by_token_and_with_the_filter(letters):
    # Words and their tokens: "x" one; "yz" two; "y" one. Before them the letters a, b, c decide.
    result = ask(letters, AFTER, passages(("m a", "x"), ("b", "yz"), ("a", "yz"), ("c", "x")))
    # a: the, filtered x; b: y then z; a: the, filtered x, but then z after y; c: the, filtered t.
    assert result.figures["accuracy of the last word"] == 25.0
    assert result.figures["accuracy of the last word, stop words filtered"] == 50.0
    assert result.figures["accuracy of the last token"] == 50.0
    assert result.figures["accuracy of the last token, stop words filtered"] == 75.0
    likelihoods = [0.3, 0.6 * 0.7, 0.1 * 0.7, 0.1]
    assert result.figures["perplexity of the last word"] == pytest.approx(math.prod(likelihoods) ** (-1 / 4))
    unfiltered = [1 - 0.5, (1 - 0.2) * left_by(b" y"), (1 - 0.5) * left_by(b" y"), 1 - 0.4]
    filtered = math.prod(likelihoods) / math.prod(unfiltered)
    expected = pytest.approx(filtered ** (-1 / 4))
    assert result.figures["perplexity of the last word, stop words filtered"] == expected
    assert result.counts == {"words": 4, "tokens": 6, "stop words": 0}


def left_by(before):
    """What the filter leaves of the tokens after one that makes " the" as unlikely as anything."""
    likely = AFTER[before]
    return 1 - (1 - sum(likely.values())) / (SIZE - len(likely))


def test_a_last_word_that_is_a_stop_word_cannot_be_guessed_through_the_filter(letters):
    result = ask(letters, AFTER, passages(("a", "the"), ("b", "y")))
    assert result.figures["accuracy of the last word"] == 100.0
    assert result.figures["accuracy of the last word, stop words filtered"] == 50.0
    assert result.counts["stop words"] == 1
    left = 0.6 / (1 - 0.2)
    assert result.figures["perplexity of the last word, stop words filtered"] == pytest.approx(1 / left)


def test_choices_are_the_likeliest_as_a_whole_and_by_the_token(letters):
    # "y" 0.1 at once; "yz" 0.1 × 0.7 by the token is likelier; "x" 0.3 at once.
    def choices(*answers):
        made = [Choice(text="a", endings=endings, answer=answer) for endings, answer in answers]
        return Choices(address="", examples=made, split="", detokenizer="")

    content = choices(((" y", " yz"), 0), ((" y", " yz"), 1), ((" y", " x", " yz"), 1), ((" y", " x"), 0))
    result = ask(letters, AFTER, content, units=("accuracy, length-normalised", "accuracy"))
    assert result.figures == {"accuracy, length-normalised": 50.0, "accuracy": 50.0}
    likeliest = ask(
        letters, AFTER, choices(((" y", " yz"), 0)), units=("accuracy", "accuracy, length-normalised")
    )
    assert likeliest.figures == {"accuracy": 100.0, "accuracy, length-normalised": 0.0}


def test_of_equal_endings_the_first_is_chosen(letters):
    made = [Choice(text="a", endings=(" y", " y"), answer=1)]
    content = Choices(address="", examples=made, split="", detokenizer="")
    assert ask(letters, AFTER, content, units=("accuracy",)).figures == {"accuracy": 0.0}


def test_token_ids_beyond_the_vocabulary_are_told(letters):
    made = [Choice(text=[1], endings=([2], [50_000]), answer=1)]
    content = Choices(address="", examples=made, split="", detokenizer="")
    with pytest.raises(ValueError, match=r"token id 50000, but the vocabulary has 263 entries"):
        ask(letters, AFTER, content, units=("accuracy",))


def test_a_text_is_divided_by_its_words_its_tokens_and_its_bytes(letters, tmp_path):
    (tmp_path / "a.txt").write_text("é y")
    text = open_text(str(tmp_path / "a.txt"))
    units = ("perplexity per word", "perplexity per token", "bits per byte", "bits per character")
    result = ask(letters, {}, text, units)  # every token as likely as any other
    loss = 3 * math.log(letters.size)  # two bytes and " y", the first after <|endoftext|>
    assert result.counts == {"tokens": 3, "words": 2, "characters": 3, "bytes": 4}
    assert result.figures == {
        "perplexity per word": pytest.approx(math.exp(loss / 2)),
        "perplexity per token": pytest.approx(letters.size),
        "bits per byte": pytest.approx(loss / math.log(2) / 4),
        "bits per character": pytest.approx(loss / math.log(2) / 3),
    }


def test_documents_do_not_see_each_other(letters, tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n{"text": " the"}\n')
    text = open_text(str(tmp_path / "a.jsonl"))
    alone = ask(letters, AFTER, text, ("perplexity per token",))
    assert alone.figures["perplexity per token"] == pytest.approx(letters.size)
    assert alone.counts["tokens"] == 2


def test_a_figure_beyond_a_float_is_none_in_json(letters, tmp_path):
    (tmp_path / "a.txt").write_text("m" * 1000)
    text = open_text(str(tmp_path / "a.txt"))
    result = ask(letters, {}, text, ("perplexity per word",))
    assert result.figures["perplexity per word"] == math.inf
    assert result.as_record()["figures"] == {"perplexity per word": None}


def test_stop_words_are_the_tokens_of_a_space_and_a_word(letters):
    tokens = Reader(letters).stop_tokens()
    assert [letters.tokens[token] for token in tokens] == [b" the"]


def test_nothing_to_evaluate_is_a_mistake():
    with pytest.raises(ValueError, match="nothing to evaluate: give a set"):
        open_tasks(SetOptions())


def test_arrays_of_ids_are_as_wide_as_the_encoder_s(letters):
    assert Reader(letters).encode([1, 2]).dtype == np.uint32 == Reader(letters).encode("ab").dtype


@pytest.mark.slow
def test_memory_stays_flat_over_a_long_text(letters):
    piece = b"it is what it is, but for the x \n" * 2000
    tracemalloc.start()
    sequence = Reader(letters).document(piece for _ in range(300))  # 20 MB
    predicted = sum(window.predicted for window in windows(sequence, context=1024, stride=512))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert predicted > 10_000_000
    assert peak < 32 * 2**20  # the ids alone would be 50 MB as an array, and ten times that as a list
