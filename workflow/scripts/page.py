"""The page where every number links to its origin."""

from job import job, run_files

with job(snakemake.log[0]) as report:
    from selfdistill.reporting.pages.results import results_page
    from selfdistill.reporting.render.csv_tables import read_csv
    from selfdistill.reporting.render.html import write_page

    params = snakemake.params
    runs = run_files(params.runs)
    tables = [read_csv(snakemake.input[name]) for name in ("main", "gains", "costs")]
    page = results_page(runs, *tables, demonstration=params.demonstration, remake=params.remake)
    write_page(snakemake.output[0], page)
    report(f"{len(runs)} runs")
