"""How much memory a run takes (`estimate`), how much there is (`available`), and what fits (`choice`)."""
