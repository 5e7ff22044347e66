"""Train one run, or go on with it, or publish it again."""

from job import job

with job(snakemake.log[0]) as report:
    from selfdistill.cluster.time_limit import requeued_before_limit
    from selfdistill.tasks.datasets import check_disjoint

    data, run = snakemake.input, snakemake.params.run
    if run["trainer"] == "verl":
        from selfdistill.training.verl.run import train

        machine = {"gpus": snakemake.resources.gpus, "nodes": snakemake.resources.nodes}
    else:
        from selfdistill.training.local.run import train

        machine = {}
    shared = check_disjoint(data.train, data.val, allow_overlap=run["data"]["allow_overlap"])
    report(f"{shared} of the evaluation problems are also trained on")
    # Of the local trainer, and of verl's.
    checkpoints = ["checkpoints/step_*", "checkpoints/latest_checkpointed_iteration.txt"]
    with requeued_before_limit(snakemake.params.state, checkpoints, report):
        train(
            run,
            train_file=data.train,
            val_file=data.val,
            base_model=data.base_model,
            state_dir=snakemake.params.state,
            outputs=dict(snakemake.output.items()),
            threads=snakemake.threads,
            report=report,
            **machine,
        )
