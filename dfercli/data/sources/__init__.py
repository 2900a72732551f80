"""The datasets: one module each, and what they share."""
