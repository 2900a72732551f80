"""What a run leaves on disk: its record, checkpoints and predictions."""
