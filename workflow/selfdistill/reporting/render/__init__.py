"""From a table's numbers to Markdown, LaTeX, HTML and the shape that the paper prints."""
