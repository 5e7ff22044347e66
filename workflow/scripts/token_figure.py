"""The tokens on which the signals of one task's teachers are largest."""

from job import job

with job(snakemake.log[0]) as report:
    from selfdistill.reporting.figures.panels import write_figure
    from selfdistill.reporting.figures.tokens import tokens_figure
    from selfdistill.reporting.render.csv_tables import read_csv
    from selfdistill.reporting.tokens.tables import read_top_tokens

    task = snakemake.wildcards.task
    top, tokens = read_top_tokens(snakemake.input.top), read_csv(snakemake.input.tokens)
    top, tokens = (table[table["task"] == task] for table in (top, tokens))
    write_figure(tokens_figure(top, tokens, snakemake.params.methods), *snakemake.output)
    report(f"{task}: {top['variant'].nunique()} variants")
