"""All that touches DeepSpeed, its private names included (pyproject.toml pins the minor version)."""
