"""Several training runs: one after another, in processes, or on a cluster."""
