"""The first page of the report."""

from job import job, missing_runs, run_files

with job(snakemake.log[0]) as report:
    from selfdistill.reporting.pages.overview import overview_page
    from selfdistill.reporting.render.csv_tables import read_csv
    from selfdistill.reporting.render.html import write_page

    given, params = snakemake.input, snakemake.params
    tables = {name: read_csv(given[name]) for name in ("claims", "main", "audit", "costs")}
    page = overview_page(
        run_files(params.runs),
        missing_runs(params.missing),
        params.tasks,
        **tables,
        findings=read_csv(given.data[0]) if given.data else None,
        figures=given.figures,
        demonstration=params.demonstration,
    )
    write_page(snakemake.output[0], page)
    report(f"{len(params.runs)} runs, {len(given.figures)} figures")
