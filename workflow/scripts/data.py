"""The problems of one dataset and split: generated, or taken over from a folder of the user's."""

from job import job

with job(snakemake.log[0]) as report:
    from selfdistill.tasks.datasets import import_file, write_generated

    output = snakemake.output[0]
    if snakemake.input:
        problems = import_file(snakemake.input[0], output)
    else:
        problems = write_generated(snakemake.params.recipe, snakemake.wildcards.split, output)
    report(f"{output}: {len(problems)} problems")
