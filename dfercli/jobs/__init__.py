"""Many training runs: one after another, in processes, or over a cluster."""
