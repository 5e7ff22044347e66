"""discovery@k of all searches, what they cost, and the attempts that a level needs."""

from job import job

with job(snakemake.log[0]) as report:
    from selfdistill.reporting.claims.discovery import claims_on_searches
    from selfdistill.reporting.read.searches import read_searches
    from selfdistill.reporting.render.csv_tables import write_csv
    from selfdistill.reporting.tables.discovery import discovery_table, needed_table

    every = [read_searches(**each) for each in snakemake.params.searches]
    discovery, needed = discovery_table(every), needed_table(every)
    write_csv(snakemake.output.discovery, discovery)
    write_csv(snakemake.output.needed, needed)
    write_csv(snakemake.output.claims, claims_on_searches(discovery, needed))
    report(f"{sum(len(each.attempts) for each in every)} searches")
