"""The page of attempts at single questions."""

from job import job

with job(snakemake.log[0]) as report:
    from selfdistill.reporting.pages.attempts import attempts_page
    from selfdistill.reporting.read.searches import read_searches
    from selfdistill.reporting.render.html import write_page

    every = [read_searches(**each, texts=True) for each in snakemake.params.searches]
    write_page(snakemake.output[0], attempts_page(every))
    report(f"{len(every)} tasks and models")
