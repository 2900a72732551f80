"""The demo dataset: videos of drawn people."""
