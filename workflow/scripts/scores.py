"""Reads the draws of all runs, once, and keeps what tables are made of; lists the runs that are missing."""

from job import job, run_files

with job(snakemake.log[0]) as report:
    import dataclasses

    import pandas as pd

    from selfdistill.reporting.read.accuracy import gather_scores, write_scores
    from selfdistill.reporting.read.runs import MissingRun
    from selfdistill.reporting.render.csv_tables import write_csv

    missing = snakemake.params.missing
    scores = gather_scores(run_files(snakemake.params.runs), snakemake.params.tasks)
    write_scores(snakemake.output.scores, scores)
    columns = [field.name for field in dataclasses.fields(MissingRun)]
    write_csv(snakemake.output.missing, pd.DataFrame(missing, columns=columns))
    report(f"{len(scores)} variants; {len(missing)} runs missing")
