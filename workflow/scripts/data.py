"""The problems of one dataset and split: generated, fetched from the hub, or taken over from a folder of the user's."""

from job import job

with job(snakemake.log[0]) as report:
    from selfdistill.tasks.datasets import import_file, import_from_hub, write_generated

    output, recipe, grader = snakemake.output[0], snakemake.params.recipe, snakemake.params.grader
    own = snakemake.params.own_prompts
    if snakemake.input:
        problems = import_file(snakemake.input[0], output, grader, report, own_prompts=own)
    elif "hub" in recipe:
        problems = import_from_hub(recipe, output, report, grader, own_prompts=own)
    else:
        problems = write_generated(recipe, snakemake.wildcards.split, output)
    report(f"{output}: {len(problems)} problems")
