"""Uses the losses of this library in a trainer that is not its own: any loop that has log-probs can take them.

A trainer brings tensors (`Batch`), `targets` turns them into advantages and weights once for the whole batch, and
`micro_batch_loss` gives each micro-batch's share of the loss. Shares add up to the same gradient however the batch is
split. Shapes: B rollouts, T response tokens, K wrong hints; log-probs in nats (docs/methods.md#from-python).

    python examples/losses_elsewhere.py
"""

import torch
from torch import Tensor

from selfdistill.objectives.advantages import group_advantages
from selfdistill.objectives.batch import Batch, Student
from selfdistill.objectives.methods import build_method, micro_batch_loss

B, T, K, V = 8, 5, 3, 11


class SomebodysModel(torch.nn.Module):
    """A stand-in for a policy: logits (B, T, V) of its own for every token of every rollout."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = torch.nn.Parameter(torch.randn(B, T, V))

    def logprobs(self, tokens: Tensor, rows: Tensor) -> Tensor:
        """Returns (rows, T) log-probs of the tokens drawn."""
        return self.logits[rows].log_softmax(-1).gather(-1, tokens[rows][..., None])[..., 0]


def gradient_of_step(model: SomebodysModel, tokens: Tensor, batch: Batch, micro_batch: int) -> Tensor:
    """Returns the gradient of one update of rlcsd, summed over micro-batches of a size."""
    method = build_method("rlcsd", {"tau": 0.05})  # what is left out has its published value
    targets = method.targets(batch, aggregation="tokens")  # over the global batch
    model.zero_grad()
    for rows in torch.arange(B).split(micro_batch):
        part, of_part = batch.rows(rows), targets.rows(rows)
        student = Student(model.logprobs(tokens, rows))
        loss, _ = micro_batch_loss(method, student, part, of_part, kl_weights=torch.zeros(len(rows), T))
        loss.backward()
    return model.logits.grad.clone()


def main() -> tuple[Tensor, Tensor]:
    """Makes a batch as a trainer would; returns the gradients of one large and of four small micro-batches."""
    torch.manual_seed(0)
    model, tokens = SomebodysModel(), torch.randint(V, (B, T))
    old = model.logprobs(tokens, torch.arange(B)).detach()
    rewards = torch.tensor([1.0, 0, 0, 1, 0, 1, 0, 0])
    batch = Batch(
        response_mask=torch.arange(T) < torch.tensor([5, 3, 4, 5, 2, 5, 5, 1])[:, None],
        advantages=group_advantages(rewards, groups=torch.arange(B) // 4),  # two prompts, four rollouts each
        old_logprobs=old,
        correct_logprobs=old + 0.1 * torch.randn(B, T),  # of a teacher that reads the correct hint
        wrong_logprobs=old[:, None] + 0.1 * torch.randn(B, K, T),  # and wrong ones
        wrong_mask=torch.ones(B, K, dtype=torch.bool),
        hinted=torch.ones(B, dtype=torch.bool),
    )
    whole, parts = (gradient_of_step(model, tokens, batch, size) for size in (B, 2))
    print(f"largest gradient {whole.abs().max():.4f}; in four parts it differs by {(whole - parts).abs().max():.1e}")
    return whole, parts


if __name__ == "__main__":
    main()
