"""Tables of results, rendered as CSV, Markdown, LaTeX and JSON.

A `Document` contains fractions and counts, never formatted text, and every format renders all of
it: tables, notes and provenance. The command line prints tables on the screen, with the same
`format_cell` and `Column.header`.
"""
