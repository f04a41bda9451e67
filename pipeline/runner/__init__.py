"""How the stages of a command run, whatever they do: on Ray, committed, resumed, reported.

`stages.py` runs a stage (`progress.py` tells how far it is, `summary.py` what it cost); `storage.py` knows
disks and object stores, `tables.py` Parquet, `records.py` the schemas; `command.py` is what every command
line shares.
"""
