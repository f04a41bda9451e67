"""How the stages of a command run, whatever they do: on Ray, committed, resumed, reported.

`stages.py` says what a stage is, `executor.py` runs it (`progress.py` tells how far it is, `summary.py` what
it cost) and `buckets.py` cuts what a shuffle brings together; `storage.py` knows disks and object stores,
`tables.py` Parquet, `records.py` the schemas, `drops.py` what goes no further; `command.py` is what every
command line shares, `names.py` says what of an address may be published, and `terminal.py` prints what
strangers wrote.
"""
