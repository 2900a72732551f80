"""The paper's tables: their rows, their runs and their results."""
