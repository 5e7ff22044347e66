"""A table of what the draws say."""

from job import job

with job(snakemake.log[0]) as report:
    from selfdistill.reporting.read.accuracy import read_scores
    from selfdistill.reporting.render.csv_tables import write_csv
    from selfdistill.reporting.tables.ablations import ablations_table, hints_table, plugin_table
    from selfdistill.reporting.tables.accuracy import gains_table, main_table
    from selfdistill.reporting.tables.pooled import pooled_table
    from selfdistill.reporting.tables.power import power_table
    from selfdistill.reporting.tables.problems import flips_table, problems_table

    params = snakemake.params
    scores = read_scores(snakemake.input[0], params.tasks)
    makers = {
        "main": lambda scores, tasks: main_table(scores, tasks, params.version),
        "gains": gains_table,
        "pooled": pooled_table,
        "problems": problems_table,
        "flips": flips_table,
        "plugin": lambda scores, tasks: plugin_table(scores, tasks, params.version),
        "hints": hints_table,
        "ablations": lambda scores, tasks: ablations_table(scores, tasks, params.methods, params.version),
        "power": power_table,
    }
    table = makers[snakemake.wildcards.table](scores, params.tasks)
    write_csv(snakemake.output[0], table)
    report(f"{len(table)} rows of {len(scores)} variants")
