"""The tokens on which the signals of one task's teachers are largest."""

from job import job

with job(snakemake.log[0]) as report:
    from selfdistill.reporting.figures.panels import write_figure
    from selfdistill.reporting.figures.token_means import token_means_figure
    from selfdistill.reporting.figures.tokens import tokens_figure
    from selfdistill.reporting.render.csv_tables import read_csv

    task = snakemake.wildcards.task
    top, tokens = (read_csv(snakemake.input[name]) for name in ("top", "tokens"))
    top, tokens = (table[table["task"] == task] for table in (top, tokens))
    given, output = snakemake.params, snakemake.output
    write_figure(tokens_figure(top, tokens, given.methods), output.svg, output.png)
    signals = read_csv(snakemake.input.signals)
    means = token_means_figure(signals[signals["task"] == task], given.methods, published=given.published)
    write_figure(means, output.means_svg, output.means_png)
    report(f"{task}: {top['variant'].nunique()} variants")
