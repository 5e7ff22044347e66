"""What is done otherwise than in the paper, as a page."""

from pathlib import Path

from job import job

with job(snakemake.log[0]):
    from selfdistill.reporting.pages.documents import document_page
    from selfdistill.reporting.render.html import write_page

    text = Path(snakemake.input[0]).read_text(encoding="utf-8")
    write_page(snakemake.output[0], document_page(text))
