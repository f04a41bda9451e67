"""From token shards to a trained GPT-2 on DeepSpeed, and from its checkpoints to formats that others read.

The rooms, each of which imports only from those before it:

    config/        options, recipes of the sizes, and the plan that they make; no torch
    model/         GPT-2, its loss, activation checkpointing, the KV cache, FLOPs
    data/          token shards: which tokens come when
    memory/        predicted peak memory, what is available, and the layout that fits
    checkpoint/    what a run leaves on disk
    distributed/   the ranks; in deepspeed/ all that touches DeepSpeed
    pretrained/    one reader for runs, checkpoints and Hugging Face directories
    training/      setup, loop, saving, schedule, spikes, validation, metrics
    generation/    text from a model
    export/        a file for each format
    evaluation/    what the GPT-2 paper asked of its models
"""
