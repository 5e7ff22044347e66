"""Verdicts on the paper's claims, from the scores and metrics of all runs."""

from job import job, missing_runs, run_files

with job(snakemake.log[0]) as report:
    from selfdistill.reporting.claims.inputs import gather
    from selfdistill.reporting.claims.table import claims_table
    from selfdistill.reporting.read.accuracy import read_scores
    from selfdistill.reporting.render.csv_tables import read_csv, write_csv

    given, params = snakemake.input, snakemake.params
    scores, runs = read_scores(given.scores, params.tasks), run_files(params.runs)
    tokens = read_csv(given.tokens[0]) if given.tokens else None
    diagnosis = read_csv(given.diagnosis[0]) if given.diagnosis else None
    missing = missing_runs(params.missing)
    inputs = gather(scores, runs, params.tasks, params.graders, missing, tokens, params.steps, diagnosis)
    table = claims_table(inputs, params.figures)
    write_csv(snakemake.output[0], table)
    report(", ".join(f"{count} {verdict}" for verdict, count in table["verdict"].value_counts().items()))
