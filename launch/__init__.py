"""The trainer's commands: plan, pretrain, export, generate, and the demonstration that runs the whole path.

Each is a page of options and one call into `trainer`, which documents what it does.
"""
