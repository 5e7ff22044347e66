"""Renders a table's numbers as Markdown, LaTeX, HTML and in the shape that the paper prints."""
