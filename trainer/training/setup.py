"""Checks before the ranks meet: options, shards and output folder must fit together."""

import platform
import shutil
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from pipeline.runner.names import bare
from pipeline.runner.ranges import check_ranges
from pipeline.runner.storage import local_path
from pipeline.runner.transfer import scratch_folder
from trainer.checkpoint.folder import check_same_identity, finished_checkpoints, newest_state, read_options
from trainer.checkpoint.store import RunStore
from trainer.config.options import TrainingOptions
from trainer.config.plan import TrainingPlan, as_record, resolve
from trainer.config.recipes import MOST_EPOCHS
from trainer.data.batches import TrainingData, ValidationData
from trainer.data.inputs import Inputs, open_inputs
from trainer.distributed.consistency import code_versions, option_values
from trainer.distributed.ranks import Ranks, all_gather, find_device, one_error_a_machine
from trainer.memory.available import find_available_memory, smallest_available_memory
from trainer.memory.choice import ChosenLayout, choose_layout
from trainer.memory.estimate import one_moment
from trainer.model.float8 import missing_for_float8
from trainer.training.capabilities import has_bf16, missing_for_kernels, settled_compilation
from trainer.training.initial_weights import InitialModel, find_initial_model

NUMBER_BYTES = 4  # of a checkpoint: fp32
GB = 10**9


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run that has passed every check and can start or resume."""

    options: TrainingOptions
    plan: TrainingPlan
    ranks: Ranks
    device: torch.device
    output: Path  # of what this machine writes: the run's folder, or the scratch of one on a store
    store: RunStore | None  # the run's folder on a store
    address: str  # of the run's folder, for people
    identity: dict[str, Any]
    inputs: Inputs
    training: TrainingData
    validation: ValidationData
    validation_bytes: int | None  # of the validation text; None: without a vocabulary
    initial_model: InitialModel | None
    chosen_layout: ChosenLayout | None = None  # set once the ranks have met
    uncompiled: str = ""  # why nothing is compiled although it was planned

    @property
    def epochs(self) -> float:
        """How many times the run reads its data."""
        return self.plan.steps * self.plan.sequences_per_step / self.training.windows

    @property
    def inputs_table(self) -> list[tuple[str, str]]:
        """Rows of the settings table: data and device."""
        validation = f"{self.validation.tokens:,} tokens"
        if self.validation_bytes is not None:
            validation += f", {self.validation_bytes:,} bytes of text"
        return [
            (
                "training data",
                f"{self.training.tokens:,} tokens from {self.plan.data}, for {self.epochs:.2f} epochs",
            ),
            ("validation", validation),
            ("device", _device_name(self.device)),
            *([("layout", self.chosen_layout.reason)] if self.chosen_layout else []),
        ]

    @property
    def environment(self) -> dict[str, Any]:
        """What the run is on, for those who look at it later."""
        return {
            "device": _device_name(self.device),
            "machines": -(-self.ranks.size // max(1, self.ranks.local_size)),
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "deepspeed")},
        }

    @property
    def consistency_values(self) -> dict[str, str]:
        """Values that must be equal on all ranks before they start."""
        return {**option_values(as_record(self.plan)), **option_values(self.identity), **code_versions()}

    @property
    def warnings(self) -> list[str]:
        """Warnings about settings that are allowed but probably not intended."""
        found = []
        if self.epochs > MOST_EPOCHS:
            found.append(
                f"each token is seen {self.epochs:.1f} times: beyond {MOST_EPOCHS} epochs, repeated data "
                f"helps less and less (try --epochs {MOST_EPOCHS}, or more data)"
            )
        if not self.evaluates and self.plan.evaluate_every:
            found.append("the shards have no validation split: there will be no validation loss")
        if self.uncompiled:
            found.append(f"running without compilation, which is slower: {self.uncompiled}")
        if self.plan.precision == "fp32" and self.options.precision == "auto" and self.device.type == "cuda":
            found.append("using fp32, since this GPU has no bf16 (an A100 or newer has)")
        return found

    @property
    def evaluates(self) -> bool:
        """Whether validation losses are computed."""
        return self.plan.evaluate_every > 0 and self.validation.tokens > 0


def prepare(options: TrainingOptions, ranks: Ranks) -> Run:
    """Resolve and check everything that can be known before the ranks meet; write nothing.

    Raises:
        ValueError: an option, the shards or the output folder is not usable.
    """
    check_ranges(options)  # before a store is asked
    device = find_device(ranks)
    inputs = open_inputs(
        options.data,
        vocabulary=options.vocabulary,
        vocabulary_size=options.vocabulary_size,
        scratch=options.scratch,
        cache_gb=options.cache_gb,
    )
    vocabulary = inputs.shards.index.vocabulary
    if options.document_attention and vocabulary.end_of_text is None:
        raise ValueError(
            "--document-attention needs to know the <|endoftext|> of the shards: give --vocabulary"
        )
    opened = _open_output(options.output, options.scratch) if options.output else None
    initial = find_initial_model(
        options.init_from, vocabulary, opened[0] if opened else None, scratch=options.scratch
    )
    plan = resolve(
        options,
        vocabulary=vocabulary.size,
        end_of_text=vocabulary.end_of_text,
        world_size=ranks.size,
        accelerator=device.type == "cuda",
        bf16=has_bf16(device),
        initial_model=initial.config if initial else None,
        epoch_tokens=max(0, len(inputs.shards.open("train")) - 1),
    )
    missing = missing_for_float8(device) if plan.float8 else ""
    if missing:
        raise ValueError(f"--float8: {missing}")
    output, store = opened or _open_output(plan.output, plan.scratch)
    finished = finished_checkpoints(output)
    identity = {**plan.identity(), "data": inputs.shards.fingerprint[:16]}
    address = str(output) if store is None else bare(store.address)
    _check_same_run(output, address, plan, identity, inputs)
    training, validation = _open_data(inputs, plan, ranks)
    _check_disk(output, plan, len(finished))
    lengths = inputs.byte_lengths
    return Run(
        options=options,
        plan=plan,
        ranks=ranks,
        device=device,
        output=output,
        store=store,
        address=address,
        identity=identity,
        inputs=inputs,
        training=training,
        validation=validation,
        validation_bytes=None if lengths is None else validation.bytes_of(lengths),
        initial_model=initial,
    )


def lay_out(run: Run, *, most: int | None = None) -> Run:
    """Choose the layout that fits the rank with the least memory; all ranks must call it, and get the same.

    Args:
        most: limit in bytes, after a larger layout has failed.

    Raises:
        ValueError: not enough memory, or --compile on without its requirements; on the first rank of each
            machine, which prints it.
    """
    state = newest_state(run.output)
    earlier = state.plan if state else None
    missing = all_gather(missing_for_kernels(run.device) if run.plan.compiled else "")
    available = find_available_memory(run.device, local_ranks=run.ranks.local_size)
    available = smallest_available_memory(available, run.device)
    options = run.options
    if most is not None:
        available = replace(available, device_bytes=min(available.device_bytes, most))
        options = replace(options, skip_memory_check=False)
    with one_error_a_machine(run.ranks):
        plan = settled_compilation(run.plan, missing, wanted=options.compile == "on" or options.float8)
        chosen = choose_layout(plan, options, available, earlier)
    return replace(run, plan=chosen.plan, chosen_layout=chosen, uncompiled=next(filter(None, missing), ""))


def _open_output(output: str, scratch: str | None) -> tuple[Path, RunStore | None]:
    """Return the run's folder on this machine, and the one on a store from which it is brought up to date."""
    path = local_path(output)
    if path is not None:
        return path, None
    store, path = RunStore(output), scratch_folder(scratch, "runs", output)
    store.fetch_newest(path, exclusive=True)
    return path, store


def _check_same_run(
    output: Path, address: str, plan: TrainingPlan, identity: dict[str, Any], inputs: Inputs
) -> None:
    """Check that the output folder is empty, or holds this run on the same data.

    Before its decay begins, a wsd run may get another number of steps: those taken so far are the same.
    """
    before = read_options(output)
    if before is None:
        return
    # Once the only choices:
    earlier = {"optimizer": "adamw", "float8": False, "shuffle_shards": 0, **before["identity"]}
    if (earlier.get("schedule"), plan.schedule) == ("wsd", "wsd"):
        state = newest_state(output)
        step = state.step if state else 0
        decays = min(plan.steps - plan.decay_steps, earlier["steps"] - earlier["decay_steps"])
        if step <= decays:
            earlier |= {"steps": plan.steps, "decay_steps": plan.decay_steps}
    if earlier.get("data") != identity["data"]:
        raise ValueError(
            f"--output {address} holds a run with another --data: {_index_of(inputs)} in {plan.data} is not "
            "the one that the run started with; give another folder"
        )
    # Compared by its content, not by where it lies; runs of version 0.1 have not kept what it was.
    if before.get("initial_model") and plan.init_from:
        earlier["init_from"] = plan.init_from
    check_same_identity(address, earlier, identity)
    inputs.check_since(before.get("files", {}))


def _index_of(inputs: Inputs) -> str:
    return "what is" if inputs.shards.are_foreign else "shards.json"


def _open_data(inputs: Inputs, plan: TrainingPlan, ranks: Ranks) -> tuple[TrainingData, ValidationData]:
    context, vocabulary, shards = plan.model.context, plan.model.vocabulary, inputs.shards
    stream = shards.open("train")
    training = TrainingData(
        stream, context=context, vocabulary=vocabulary, seed=plan.seed, shuffle_shards=plan.shuffle_shards
    )
    if training.windows < plan.sequences_per_step:
        raise ValueError(
            f"{shards.folder} has too little data: {len(stream):,} tokens, {training.windows:,} sequences of "
            f"{context}, but one batch takes {plan.sequences_per_step:,}: the largest "
            f"--global-batch-tokens that fits is {training.windows * context}"
        )
    validation = ValidationData(
        shards.open("validation"), context=context, vocabulary=vocabulary, most_tokens=plan.evaluation_tokens
    )
    _fetch_ahead(inputs, training, plan.sequences_per_step, ranks.local_rank)
    return training, validation


def _fetch_ahead(inputs: Inputs, data: TrainingData, sequences: int, local_rank: int) -> None:
    """Check that the training data that is needed at a time has space here; fetch it if that is all of it.

    Raises:
        ValueError: it has not; or what the store gives is damaged.
        OSError: the store is out of reach, or the disk is full.
    """
    cache, splits = inputs.shards.cache, inputs.shards.index.splits
    if cache is None or "train" not in splits:
        return
    shards = splits["train"].shards
    sizes = [cache.size_bytes([shard]) for shard in shards]
    needed = data.most_at_once(sizes, sequences)
    fewest = data.most_at_once(sizes, sequences, shuffle_shards=1)
    hint = "give more with --cache-gb"
    if fewest < needed:
        hint += f", or --shuffle-shards (of 1: {fewest / GB:,.2f} GB)"
    cache.check_fits(needed, hint)
    if needed == sum(sizes):
        cache.keep(shards)
        cache.fetch_all(shards, first=local_rank, tell=local_rank == 0)


def _check_disk(output: Path, plan: TrainingPlan, finished: int) -> None:
    """Check that the disk has space for the kept checkpoints and the one being written."""
    model = plan.model
    padding = (model.padded_vocabulary - model.vocabulary) * model.width
    numbers = 3 * (model.parameters + padding) - one_moment(model, plan.optimizer)  # weights, two moments
    each = NUMBER_BYTES * numbers
    at_most = min(plan.keep_checkpoints + 1, -(-plan.steps // plan.checkpoint_every))
    needed = each * max(1, at_most - finished)
    folder = next(path for path in (output, *output.absolute().parents) if path.is_dir())
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ValueError(
            f"not enough disk space for checkpoints in {folder}: needs {needed / GB:,.1f} GB, "
            f"{free / GB:,.1f} GB are free; a checkpoint takes {each / GB:,.2f} GB (see --keep-checkpoints)"
        )


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, one per rank"
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return "CPU" + (f" (DS_ACCELERATOR=cpu; {gpus} GPUs are not used)" if gpus else "")
