"""Verdicts on the paper's claims, from the draws and metrics of all runs."""

from job import job, run_files

with job(snakemake.log[0]) as report:
    from selfdistill.reporting.render.csv_tables import read_csv
    from selfdistill.reporting.tables.claim_statistics import gather
    from selfdistill.reporting.tables.claims import claims_table, write_claims

    output, params = snakemake.output, snakemake.params
    tokens = read_csv(snakemake.input.tokens[0]) if snakemake.input.tokens else None
    runs = run_files(params.runs)
    table = claims_table(gather(runs, params.tasks, params.graders, params.missing, tokens), params.figures)
    write_claims(table, output.csv, output.markdown)
    report(", ".join(f"{count} {verdict}" for verdict, count in table["verdict"].value_counts().items()))
