"""A training run from setup to its last checkpoint."""
