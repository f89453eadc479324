"""Everything that may see true labels: metrics, supervised and zero-shot baselines."""
