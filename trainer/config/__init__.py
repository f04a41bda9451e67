"""A run's options, the recipe of each size, and the resolved plan. Nothing here imports torch."""
