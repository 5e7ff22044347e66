"""What the runs cost, from their provenance, metrics and evaluations' accounts."""

from job import job, run_files

with job(snakemake.log[0]) as report:
    from selfdistill.files import write_text
    from selfdistill.reporting.costs import costs_markdown, costs_table, total_line
    from selfdistill.reporting.tables import write_csv

    table = costs_table(run_files(snakemake.params.runs))
    write_csv(snakemake.output.csv, table)
    write_text(snakemake.output.markdown, costs_markdown(table))
    report(total_line(table))
