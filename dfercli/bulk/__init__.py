"""Many videos at once: what is typed as a list, each read by itself, what was seen written down."""
