"""From finished runs to figures and tables."""
