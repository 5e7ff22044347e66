"""The site: a folder to publish."""

from pathlib import Path

from job import job

with job(snakemake.log[0]) as report:
    from selfdistill.reporting.pages.site import write_site

    given = snakemake.input
    figures = [file for svg in given.figures for file in (svg, Path(svg).with_suffix(".png"))]
    write_site(snakemake.output[0], snakemake.params.pages, figures, given.tables)
    report(f"{len(snakemake.params.pages)} pages, {len(given.figures)} figures, {len(given.tables)} tables")
