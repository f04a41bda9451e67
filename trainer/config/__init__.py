"""What a run is: options, recipes of the sizes, and the plan that they make. Nothing here imports torch."""
