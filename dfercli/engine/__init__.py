"""Training, evaluation, ablation, and what they leave on disk."""
