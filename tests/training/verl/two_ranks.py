"""One of several ranks on its rows of the toy update, as a process of its own: python two_ranks.py RANK RANKS FOLDER.

Two updates with a moving average, scores under all three sets of weights, a checkpoint; what they gave, as files.
"""

import os
import sys
from pathlib import Path

os.environ.update(VERL_PLATFORM="cpu", VERL_ENGINE_DEVICE="cpu", VERL_ENGINE_VENDOR="selfdistill")

import torch
from in_process import InProcess, InProcessEngine, Options, asking, process_group, toy_update, weights_of
from safetensors.torch import save_file
from torch import Tensor
from verl.utils import tensordict_utils

from selfdistill.study.teacher_settings import TeacherSettings
from selfdistill.training.verl.loss import Loss
from selfdistill.training.verl.shared_prompts import SHARED, SHARED_TOKENS
from selfdistill.training.verl.wire import pack_scores_request, pack_update, sums_of, unpack_scores


def main(rank: int, ranks: int, folder: Path) -> None:
    torch.set_num_threads(1)
    with process_group(folder / "store", rank, ranks):
        for reshard in (True, False):
            models = InProcess(Options(budget=40, engine=(("reshard_after_forward", reshard),)), with_initial=True)
            save_file(two_updates(models, rank, ranks) | weights_of(models), folder / f"{reshard}_{rank}.safetensors")
        models.save(folder / "checkpoint")
        models.load(folder / "checkpoint")


def two_updates(models: InProcess, rank: int, ranks: int) -> dict[str, Tensor]:
    """Norm and sums of each update, and scores of this rank's rows behind it."""
    sequences, *update = toy_update()
    width = update[0].response_mask.shape[1]
    engine = InProcessEngine(models, Loss("grpo", {}), TeacherSettings(kind="ema", ema_decay=0.5))
    found = {}

    def share(data):
        return tensordict_utils.chunk_tensordict(data, ranks)[rank]

    for number in range(2):
        data = asking(share(pack_update(sequences, *update)), learning_rate=1e-4, **engine.request)
        sums, norm = sums_of(tensordict_utils.get(models.update(data), "metrics"))
        values = [norm, *(value for name in sorted(sums) for value in sums[name])]
        found[f"update_{number}"] = torch.tensor(values, dtype=torch.float64)
        engine.tick("training_steps")
        for who in ("student", "teacher", "initial"):
            reply = engine.ask(who, share(pack_scores_request(sequences)))
            found[f"{who}_{number}"] = unpack_scores(reply, width).logprobs
            for form in ("padded", "packed"):  # of so small a budget that ranks have unlike numbers of forwards
                data = share(pack_scores_request(sequences))
                reply = engine.ask(who, data, **{SHARED: form, SHARED_TOKENS: 15})
                found[f"{who}_{form}_{number}"] = unpack_scores(reply, width).logprobs
    return found


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
