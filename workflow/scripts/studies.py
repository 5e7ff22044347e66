"""The paper's studies on what was run: contrast as a plug-in, hint settings, variants against their methods."""

from job import job, run_files

with job(snakemake.log[0]) as report:
    from selfdistill.reporting.read.accuracy import read_groups
    from selfdistill.reporting.render.csv_tables import write_csv
    from selfdistill.reporting.render.table import write_views
    from selfdistill.reporting.tables import ablations as studies

    output, tasks, missing = snakemake.output, snakemake.params.tasks, snakemake.params.missing
    runs = run_files(snakemake.params.runs)
    groups = read_groups(runs, tasks)
    plugin, hints = studies.plugin_table(groups, tasks), studies.hints_table(groups, tasks)
    ablations = studies.ablations_table(groups, tasks, {run.variant: run.method for run in runs})
    for name, title, table, views, lead, empty in (
        (
            "plugin",
            "Contrast as a plug-in",
            plugin,
            studies.plugin_views(plugin, missing),
            studies.PLUGIN_LEAD,
            studies.NO_PLUGIN,
        ),
        ("hints", "Hint settings", hints, studies.hints_views(hints, missing), studies.HINTS_LEAD, studies.NO_HINTS),
        (
            "ablations",
            "Variants against their methods",
            ablations,
            studies.ablations_views(ablations, missing, tasks),
            studies.ABLATIONS_LEAD,
            studies.NO_ABLATIONS,
        ),
    ):
        write_csv(output[name], table)
        write_views(output, f"{name}_", title, views, lead, empty)
    report(f"rows: {len(plugin)} plug-in, {len(hints)} hint settings, {len(ablations)} variants against their methods")
