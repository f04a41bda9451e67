"""From token shards to a trained GPT-2, on DeepSpeed, and from its checkpoints to formats that others read.

`config` says what a run is, `model` is GPT-2, `batches` decides which tokens come when, `loop` trains,
`checkpoint` commits and finds what a run left on disk, `loading` makes a model of it or of an exported
one, `generation` writes text, `zeroshot/` asks a model what the GPT-2 paper asked, `export/` holds a file
for every format that a model leaves in. `engine` is the only module that speaks DeepSpeed.
"""
