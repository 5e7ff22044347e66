"""Train one run, or go on with it, or publish it again."""

from job import job

with job(snakemake.log[0], snakemake.params.state) as report:
    from selfdistill.cluster.time_limit import requeued_before_limit
    from selfdistill.tasks.datasets import check_disjoint
    from selfdistill.training.preflight.verdict import check_verdict

    data, run = snakemake.input, snakemake.params.run
    if run["trainer"] == "verl":
        from selfdistill.study.critic_settings import gpus_of_critic
        from selfdistill.training.verl.run import CHECKPOINTS, train

        of_trainer = snakemake.resources.gpus - gpus_of_critic(run)
        machine = {"gpus": of_trainer, "nodes": snakemake.resources.nodes}
    else:
        from selfdistill.training.local.run import CHECKPOINTS, train

        machine = {}
    shared = check_disjoint(data.train, data.val, allow_overlap=run["data"]["allow_overlap"])
    report(f"{shared} of the evaluation problems are also trained on")
    for verdict in data.preflight:
        check_verdict(verdict, refuse=snakemake.params.refuses, report=report)
    with requeued_before_limit(snakemake.params.state, CHECKPOINTS, report):
        train(
            run,
            train_file=data.train,
            val_file=data.val,
            base_model=data.base_model,
            external={role: data[role] for role in ("teacher", "reference", "critic") if data.get(role)},
            state_dir=snakemake.params.state,
            outputs=dict(snakemake.output.items()),
            threads=snakemake.threads,
            report=report,
            **machine,
        )
