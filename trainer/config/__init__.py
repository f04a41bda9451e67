"""What a run is: its options, recipes and plan. Nothing here imports torch."""
