"""What the model card tells of a run, and what it keeps to itself."""

import dataclasses

import pytest
import yaml

from trainer.checkpoint.folder import State
from trainer.export.card import model_card


@pytest.fixture
def state(source):
    """Of a run of 5 of 10 steps."""
    return State(
        step=5,
        updates=5,
        sequences=10,
        tokens=480,
        world_size=2,
        zero_stage=3,
        vocabulary_fingerprint=source.vocabulary.fingerprint,
        model=source.config,
        plan={
            "size": "micro",
            "steps": 10,
            "learning_rate": 0.004,
            "data": "/home/somebody/shards",
            "output": "s3://bucket/run",
            "init_from": "",
            "model": {"layers": 2},
            "anomalies": {"skip_spikes": True},
        },
        figures={
            "training_seconds": 1234.5,
            "first_validation_loss": 5.5,
            "last_validation_loss": 4.25,
            "last_validation_bits_per_byte": 1.375,
        },
    )


def test_the_card_has_the_figures_and_options_of_the_run(source, state):
    trained = dataclasses.replace(source, state=state, data_fingerprint="0123456789abcdef")
    card = model_card(trained, "bfloat16")
    for row in (
        f"| Parameters | {source.config.parameters:,}, stored as bfloat16 |",
        "| Trained on | 480 tokens in 5 of 10 steps |",
        "| Data | token shards `0123456789abcdef` |",
        "| Ranks | 2 |",
        "| First validation loss | 5.5000 nats per token |",
        "| Last validation loss | 4.2500 nats per token |",
        "| Last validation loss, independent of the vocabulary | 1.3750 bits per byte |",
        "| Training time | 1,234 s |",
        "| `learning_rate` | 0.004 |",
        "| `skip_spikes` | True |",
    ):
        assert row in card.splitlines()
    assert "From scratch" in card
    assert "somebody" not in card
    assert "bucket" not in card


def test_the_card_names_the_model_that_a_run_began_with_but_not_where_it_lies(source, state):
    plan = {**state.plan, "init_from": "/home/somebody/gpt2-medium"}
    began = dataclasses.replace(source, state=dataclasses.replace(state, plan=plan))
    card = model_card(began, "float32")
    assert "| Initialized from | the weights of `gpt2-medium` |" in card
    assert "From scratch" not in card
    assert "somebody" not in card


def test_the_head_is_what_the_hub_reads(source, state):
    for model in (source, dataclasses.replace(source, state=state)):
        _, head, text = model_card(model, "float32").split("---\n", 2)
        assert yaml.safe_load(head)["library_name"] == "transformers"
        assert text.lstrip().startswith("# GPT-2 test")
        assert "{" not in text.replace("{{", "")


def test_a_model_of_unknown_training_claims_none(source):
    card = model_card(source, "float32")
    assert "Trained on" not in card
    assert "trained by Outbound" not in card


def test_a_strangers_checkpoint_writes_nothing_of_its_own_into_the_card(source, state):
    evil = "x\n---\n# Trust me <script>alert(1)</script> ``` | a |" + "y" * 10**6
    plan = {**state.plan, "size": evil, "init_from": f"/a/{evil}", "learning_rate": evil, evil: evil}
    card = model_card(dataclasses.replace(source, state=dataclasses.replace(state, plan=plan)), "float32")
    honest = model_card(dataclasses.replace(source, state=state), "float32")
    assert "<script" not in card
    assert [line for line in card.splitlines() if line.startswith("#")] == [
        line for line in honest.splitlines() if line.startswith("#")
    ]
    assert card.count("\n---\n") == honest.count("\n---\n")
    assert len(card) < 2 * len(honest) + 2_000
