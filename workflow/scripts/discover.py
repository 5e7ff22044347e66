"""Make the attempts of a search, or the untrained model's draws where no question is chosen yet; or go on with it."""

from job import job

with job(snakemake.log[0], snakemake.params.state) as report:
    import torch

    from selfdistill.cluster.time_limit import requeued_before_limit
    from selfdistill.training.discovery.job import CHECKPOINTS, discover, draw_base

    torch.set_num_threads(snakemake.threads)
    given, params = snakemake.input, snakemake.params
    common = {
        "train_file": given.train,
        "val_file": given.val,
        "base_model": given.base_model,
        "state_dir": params.state,
        "output": snakemake.output[0],
        "part": int(snakemake.wildcards.part),
        "report": report,
    }
    with requeued_before_limit(params.state, CHECKPOINTS, report):
        if "questions" in given.keys():  # noqa: SIM118
            machine = {"gpus": snakemake.resources.gpus, "threads": snakemake.threads}
            discover(params.settings, questions_file=given.questions, **machine, **common)
        else:
            draw_base(params.settings, **common)
