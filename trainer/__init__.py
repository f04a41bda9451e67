"""From token shards to a trained GPT-2 on DeepSpeed, and from its checkpoints to common formats.

The folders, each of which imports only from those before it:

    config/        options, recipes of the sizes, and the resolved plan; no torch
    model/         GPT-2, its loss, activation checkpointing, the KV cache, FLOPs
    data/          token shards: which tokens come in which step
    memory/        predicted peak memory, what is available, and the layout that fits
    checkpoint/    a run's files on disk
    distributed/   the ranks; deepspeed/ has everything that touches DeepSpeed
    pretrained/    one reader for runs, checkpoints and Hugging Face directories
    training/      setup, loop, saving, schedule, spikes, validation, metrics
    generation/    text generation
    export/        a file for each format
    evaluation/    the GPT-2 paper's zero-shot evaluations
"""
