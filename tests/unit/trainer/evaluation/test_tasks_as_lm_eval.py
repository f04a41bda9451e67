"""Our figures beside those of EleutherAI's lm-evaluation-harness, on the same exported model."""

import json

import pytest
import torch

from trainer.distributed.ranks import Ranks
from trainer.evaluation.questions import open_lambada
from trainer.evaluation.scoring import Scorer
from trainer.evaluation.suite import EvaluationTask
from trainer.evaluation.tasks import Reader, evaluate
from trainer.evaluation.texts import open_text

pytest.importorskip("lm_eval")

PASSAGES = [
    "The captain did not speak to the passengers",
    "He had seen the ferry cross the bay at dawn, and the captain held on to the bell",
    "The ferry",
    "nobody counted the storms that he feared, and the passengers of the ferry counted none of them storms",
]
DOCUMENTS = [
    "The ferry crossed the bay. " * 12,
    "It sank.",
    "A long, long time ago, nobody counted 1,200 storms.",
]


@pytest.fixture(scope="module")
def theirs(model_folder, tmp_path_factory):
    """What the harness makes of both, with transformers' model and tokenizer under its own request code."""
    from lm_eval import utils
    from lm_eval.api.model import TemplateLM
    from lm_eval.evaluator import simple_evaluate
    from lm_eval.tasks import TaskManager
    from transformers import AutoTokenizer, GPT2LMHeadModel

    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    model = GPT2LMHeadModel.from_pretrained(model_folder).eval()

    class Transformers(TemplateLM):
        eot_token_id = tokenizer.eos_token_id

        def tok_encode(self, string, **options):
            return tokenizer(string)["input_ids"]

        @torch.no_grad()
        def _loglikelihood_tokens(self, requests, **options):
            answers = []
            for _, context, continuation in requests:
                inputs = (context + continuation)[-33:][:-1]
                logits = model(torch.tensor([inputs])).logits[0, -len(continuation) :]
                found = torch.log_softmax(logits.double(), dim=-1)
                targets = torch.tensor(continuation)
                greedy = bool((found.argmax(dim=-1) == targets).all())
                answers.append((float(found.gather(1, targets[:, None]).sum()), greedy))
            return answers

        def loglikelihood_rolling(self, requests, **options):
            answers = []
            for request in requests:
                windows = utils.get_rolling_token_windows(
                    self.tok_encode(request.args[0]), self.prefix_token_id, max_seq_len=32, context_len=1
                )
                parts = [(None, *utils.make_disjoint_window(window)) for window in windows]
                answers.append(sum(answer for answer, _ in self._loglikelihood_tokens(parts)))
            return answers

        def generate_until(self, requests, **options):
            raise NotImplementedError

    def task(name, file, **options):
        data = {"dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(file)}}}
        return {"task": name, **data, "test_split": "test", **options}

    folder = tmp_path_factory.mktemp("sets")
    for name, texts in (("lambada.jsonl", PASSAGES), ("texts.jsonl", DOCUMENTS)):
        (folder / name).write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    last_word = task(
        "last_word",
        folder / "lambada.jsonl",
        output_type="loglikelihood",
        doc_to_text="{{text.split(' ')[:-1]|join(' ')}}",
        doc_to_target="{{' '+text.split(' ')[-1]}}",
        metric_list=[
            {"metric": "perplexity", "aggregation": "perplexity", "higher_is_better": False},
            {"metric": "acc", "aggregation": "mean", "higher_is_better": True},
        ],
    )
    rolling = task(
        "rolling",
        folder / "texts.jsonl",
        output_type="loglikelihood_rolling",
        doc_to_text="",
        doc_to_target="{{text}}",
        metric_list=[{"metric": "word_perplexity"}, {"metric": "bits_per_byte"}],
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datasets.config.HF_DATASETS_CACHE", folder / "cache")
        patch.setattr("datasets.config.HF_DATASETS_OFFLINE", True)
        found = simple_evaluate(
            model=Transformers(),
            tasks=[last_word, rolling],
            task_manager=TaskManager(include_defaults=False),
            bootstrap_iters=0,
            log_samples=False,
        )
    return folder, found["results"]


def ours(loaded, content, units=()):
    alone = Ranks(rank=0, size=1, local_rank=0, local_size=1)
    scorer = Scorer(loaded.model, alone, context=32, stride=32, batch=4)
    task = EvaluationTask(name="made", title="Made", content=content, units=units)
    return evaluate(task, scorer, Reader(loaded.vocabulary), lambda count: None).figures


def test_last_words_score_as_in_the_harness(theirs, loaded):
    folder, results = theirs
    figures = ours(loaded, open_lambada(str(folder / "lambada.jsonl")))
    expected = results["last_word"]
    assert figures["perplexity of the last word"] == pytest.approx(expected["perplexity,none"], rel=1e-5)
    assert figures["accuracy of the last word"] == 100 * expected["acc,none"]


def test_texts_score_as_in_the_harness(theirs, loaded):
    folder, results = theirs
    units = ("perplexity per word", "bits per byte")
    figures = ours(loaded, open_text(str(folder / "texts.jsonl")), units)
    expected = results["rolling"]
    assert figures["bits per byte"] == pytest.approx(expected["bits_per_byte,none"], rel=1e-5)
    # The harness counts what white space stands around, and so one more for a text that ends in a space.
    words = sum(len(text.split()) for text in DOCUMENTS)
    per_word = expected["word_perplexity,none"] ** ((words + 1) / words)
    assert figures["perplexity per word"] == pytest.approx(per_word, rel=1e-5)
