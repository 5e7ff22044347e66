"""Claims of papers: what each says as data (one file a paper), and how it is judged on what was run."""
