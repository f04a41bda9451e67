"""Everything that touches DeepSpeed, including its private names (pyproject.toml pins the minor version)."""
