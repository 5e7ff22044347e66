"""Random batches with distributions behind them, and the slow pieces that every objective's reference is made of.

A slow reference works on probabilities, one token after another, in Python's complex numbers. Its derivative by a logit
is the imaginary part of its value at logit + 1e-30 i, over 1e-30: exact to the last digits, and nothing that autograd
knows of. What a loss detaches is a real part there.
"""

import cmath
import math
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from selfdistill.objectives.batch import Batch, Needs, Student, Support, means

_STEP = 1e-30
_TOKENWISE_TEACHER = ("correct_logprobs", "wrong_logprobs", "correct_support", "wrong_support", "teacher_entropy")


@dataclass(frozen=True)
class Case:
    """A batch, and the student's logits (B, T, V) and sampled ids (B, T) behind its log-probs."""

    batch: Batch
    logits: Tensor
    tokens: Tensor
    needs: Needs

    def student(self) -> Student:
        """What a trainer hands over: log-probs of sampled ids, and those at the support if the method reads any."""
        logprobs = self.logits.log_softmax(dim=-1)
        ids = self.batch.support_ids
        support = logprobs if ids is None else logprobs.gather(-1, ids)
        sampled = logprobs.gather(-1, self.tokens[..., None])[..., 0]
        entropy = -(logprobs.exp() * logprobs).sum(dim=-1)
        return Student(sampled, support if self.needs.support else None, entropy)

    def at(self, logits: Tensor) -> "Case":
        return replace(self, logits=logits)

    def changed(self, **values: Tensor) -> "Case":
        return replace(self, batch=self.batch.extended(**values))

    def with_bonus(self) -> "Case":
        """With weights of an entropy bonus, another for each token."""
        mask = self.batch.token_mask
        weights = torch.linspace(0.01, 0.1, mask.numel(), dtype=self.logits.dtype).reshape(mask.shape)
        return self.changed(entropy_weights=torch.where(mask, weights, 0.0))

    def part(self, rows: Tensor, width: int | None = None) -> "Case":
        width = self.tokens.shape[1] if width is None else width
        batch = self.batch.rows(rows).narrowed(width)
        return replace(self, batch=batch, logits=self.logits[rows, :width], tokens=self.tokens[rows, :width])

    def to(self, dtype: torch.dtype) -> "Case":
        floats = {
            name: x.to(dtype) for name, x in vars(self.batch).items() if torch.is_tensor(x) and x.is_floating_point()
        }
        return self.changed(**floats).at(self.logits.to(dtype))

    def with_agreeing_teacher(self) -> "Case":
        """The teacher says under every hint just what the student says."""
        student = self.student()
        hints = self.batch.wrong_mask.shape[1]
        wrong = student.logprobs[:, None].repeat(1, hints, 1)
        changed = self.changed(
            correct_logprobs=student.logprobs,
            wrong_logprobs=torch.where(self.batch.wrong_mask[..., None], wrong, torch.nan),
        )
        if student.support is None:
            return changed
        return changed.changed(correct_support=student.support, wrong_support=student.support)

    def places(self, **flags: bool) -> list[tuple[int, int]]:
        """(row, token) of response tokens that are in the batch, and whose rows have these flags (hinted=True, ...)."""
        places = self.batch.token_mask.nonzero().tolist()
        return [(i, t) for i, t in places if all(bool(getattr(self.batch, f)[i]) == want for f, want in flags.items())]

    def token(self, i: int, t: int) -> SimpleNamespace:
        """One token's numbers: probabilities in place of log-probs, and its row's."""
        batch = self.batch
        real = [k for k in range(batch.wrong_mask.shape[1]) if batch.wrong_mask[i, k]]
        ids = range(self.logits.shape[-1]) if batch.support_ids is None else batch.support_ids[i, t].tolist()
        return SimpleNamespace(
            row=i,
            sampled=int(self.tokens[i, t]),
            ids=list(ids),
            logits=self.logits[i, t].tolist(),
            old=float(batch.old_logprobs[i, t].exp()),
            current=float(batch.current_logprobs[i, t].exp()),
            reference=float(batch.teacher_reference_logprobs[i, t].exp()),
            correct=float(batch.correct_logprobs[i, t].exp()),
            wrong=[float(batch.wrong_logprobs[i, k, t].exp()) for k in real],
            correct_support=batch.correct_support[i, t].exp().tolist(),
            wrong_support=batch.wrong_support[i, t].exp().tolist(),
            entropy=float(batch.teacher_entropy[i, t]),
            advantage=float(batch.advantages[i]),
            verdict=bool(batch.correct[i]),
            hinted=bool(batch.hinted[i]),
        )


def _random_case(
    seed: int, needs: Needs | None = None, rows: int = 6, width: int = 6, hints: int = 3, vocabulary: int = 7
) -> Case:
    """A case with every field filled, ragged in responses and hints, that has what `needs` asks for.

    Student, teachers and old policy differ by little on some tokens and by much on others. Rows without tokens, without
    hints, and out of the batch occur. Masked hints hold NaN; padding, and the teacher's word on rows without hints,
    finite rubbish, one id several times in a support included.
    """
    rng = np.random.default_rng(seed)
    needs = needs or Needs(correct_hint=True, wrong_hints=True, support=Support("teacher", 3))
    shape = (rows, width)

    def near(logits: Tensor, *scales: float) -> Tensor:
        scale = torch.from_numpy(rng.choice(scales, size=(rows, width, 1)))
        if logits.dim() == 4:
            scale = scale[:, None]
        return logits + scale * torch.from_numpy(rng.normal(size=tuple(logits.shape)))

    def rubbish(*size: int) -> Tensor:
        return torch.from_numpy(-rng.exponential(9.0, size=size) * (rng.random(size) < 0.7))

    tokens = torch.from_numpy(rng.integers(0, vocabulary, size=shape))

    def sampled(logits: Tensor) -> Tensor:
        return logits.log_softmax(dim=-1).gather(-1, tokens[..., None])[..., 0]

    student = torch.from_numpy(1.5 * rng.normal(size=(*shape, vocabulary)))
    correct = near(student, 0.01, 0.3, 1.0)
    wrong = near(correct[:, None].repeat(1, hints, 1, 1), 0.0, 0.0005, 0.01, 0.5)
    mask = torch.from_numpy(np.arange(width) < rng.integers(0, width + 1, size=rows)[:, None])
    hinted = torch.from_numpy(rng.random(rows) < 0.75)
    real = rng.permuted(np.arange(hints) < rng.integers(1, hints + 1, size=rows)[:, None], axis=1)
    wrong_mask = torch.from_numpy(real) & hinted[:, None]
    verdict = torch.from_numpy(rng.random(rows) < 0.5)
    sizes = torch.from_numpy(np.abs(rng.normal(size=rows)) * (rng.random(rows) < 0.8))

    correct_full = correct.log_softmax(dim=-1)
    first = wrong_mask.to(torch.uint8).argmax(dim=1)
    wrong_full = wrong.log_softmax(dim=-1)[torch.arange(rows), first]
    wrong_logprobs = torch.stack([sampled(wrong[:, k]) for k in range(hints)], dim=1)
    filled = {
        "old_logprobs": sampled(near(student, 0.0, 0.1, 1.0)),
        "importance": torch.from_numpy(rng.uniform(0.2, 2.0, size=shape)),
        "reference_logprobs": sampled(near(student, 0.5)),
        "teacher_reference_logprobs": sampled(near(student, 0.4)),
        "current_logprobs": sampled(near(student, 0.0005, 0.01, 0.5)),
        "correct_logprobs": sampled(correct),
        "wrong_logprobs": wrong_logprobs,
        "teacher_entropy": -(correct_full.exp() * correct_full).sum(dim=-1),
        "correct_support": correct_full,
        "wrong_support": wrong_full,
    }
    ids = None
    support = needs.support or Support("teacher", 3)
    if support.top_k:
        chooser = {"teacher": correct, "student": student}[support.chooser]
        ids = chooser.topk(min(support.top_k, vocabulary), dim=-1).indices
        ids[~mask] = 0
        filled |= {name: filled[name].gather(-1, ids) for name in ("correct_support", "wrong_support")}
    for name, values in filled.items():
        meant = mask & hinted[:, None] if name in _TOKENWISE_TEACHER else mask
        meant = {3: meant[..., None], 2: meant}[values.dim()] if name != "wrong_logprobs" else meant[:, None]
        filled[name] = torch.where(meant, values, rubbish(*values.shape))
    filled["wrong_logprobs"][~wrong_mask] = torch.nan
    batch = Batch(
        response_mask=mask,
        advantages=torch.where(verdict, sizes, -sizes),
        step=int(rng.integers(1, 50)),
        correct=verdict,
        wrong_mask=wrong_mask,
        support_ids=ids,
        hinted=hinted,
        kept=torch.from_numpy(rng.random(rows) < 0.8),
        **filled,
    )
    return Case(batch, student, tokens, needs)


def _measured(method, case: Case, aggregation: str) -> tuple[float, Tensor, dict[str, float]]:
    """The library's loss of a whole batch, its gradient by the student's logits, and all that it would log."""
    leaf = case.logits.clone().requires_grad_()
    targets = method.targets(case.batch, aggregation)
    found = method.token_loss(case.at(leaf).student(), case.batch, targets)
    loss = (targets.weights * found.values).sum()
    gradient = torch.autograd.grad(loss, leaf)[0]
    assert not any(values.requires_grad for values, _ in found.watched.values())
    assert not found.watched.keys() & targets.metrics.keys()
    return float(loss.detach()), gradient, targets.metrics | means(found.watched)


def _by_logprobs(method, batch: Batch, logprobs: Tensor, aggregation: str) -> tuple[float, Tensor]:
    """The library's loss of a batch made by hand, without distributions, and its gradient by the log-probs."""
    leaf = logprobs.clone().requires_grad_()
    targets = method.targets(batch, aggregation)
    loss = (targets.weights * method.token_loss(Student(leaf), batch, targets).values).sum()
    return float(loss.detach()), torch.autograd.grad(loss, leaf)[0]


def _agree(found, expected, tolerance: float = 1e-9) -> None:
    """Loss, gradient, and every logged number, name by name; None is one that must not be logged."""
    assert found[0] == pytest.approx(expected[0], rel=tolerance, abs=tolerance)
    torch.testing.assert_close(found[1], expected[1], rtol=tolerance, atol=tolerance)
    if len(expected) > 2:
        logged = {name: value for name, value in expected[2].items() if value is not None}
        assert found[2] == pytest.approx(logged, rel=tolerance, abs=tolerance)


class Slow:
    """Pieces of references, on probabilities: complex where they hang on the student."""

    @staticmethod
    def softmax(logits):
        raised = [cmath.exp(x) for x in logits]
        return [x / sum(raised) for x in raised]

    @staticmethod
    def with_slopes(function, logits):
        """Value of function(probabilities), and its derivative by every logit."""
        slopes = []
        for v in range(len(logits)):
            stepped = [x + _STEP * 1j if u == v else complex(x) for u, x in enumerate(logits)]
            slopes.append(complex(function(Slow.softmax(stepped))).imag / _STEP)
        return complex(function(Slow.softmax(logits))).real, slopes

    @staticmethod
    def with_slope(function, x):
        """Value of function(x), and its derivative."""
        return complex(function(x)).real, complex(function(x + _STEP * 1j)).imag / _STEP

    @staticmethod
    def surrogate(ratio, advantage, low, high, dual=None):
        bounded = ratio if 1 - low <= ratio.real <= 1 + high else min(max(ratio.real, 1 - low), 1 + high)
        objective = min(ratio * advantage, bounded * advantage, key=lambda x: complex(x).real)
        if dual is not None and advantage < 0 and complex(objective).real < dual * advantage:
            objective = dual * advantage
        return -objective

    @staticmethod
    def distribution(probabilities, top_k, tail):
        """What k ids say of a whole vocabulary."""
        if top_k == 0:
            return list(probabilities)
        if tail:
            rest = 1 - sum(probabilities)
            least = -math.expm1(-1e-7)  # the log of the ids' mass is clamped to -1e-7
            return [*probabilities, rest if complex(rest).real > least else least]
        return [p / sum(probabilities) for p in probabilities]

    @staticmethod
    def pair(at, student, method):
        """Student's and teacher's distribution on the support, as the method reads them."""
        read = [student[v] for v in at.ids]
        return [Slow.distribution(p, method.top_k, method.tail) for p in (read, at.correct_support)]

    @staticmethod
    def divergence(student, teacher, mix, clip=None):
        total = 0.0
        for s, t in zip(student, teacher, strict=True):
            if mix == 0:
                term = Slow.kl_term(t, s)
            elif mix == 1:
                term = Slow.kl_term(s, t)
            else:
                middle = (1 - mix) * s + mix * t
                term = (1 - mix) * Slow.kl_term(s, middle) + mix * Slow.kl_term(t, middle)
            total += clip if clip is not None and complex(term).real > clip else term
        return total

    @staticmethod
    def kl_term(p, q):
        return p * Slow.log(p / q) if p != 0 else 0.0

    exp, log = staticmethod(cmath.exp), staticmethod(cmath.log)

    @staticmethod
    def distilled(case, aggregation):
        """The rollouts that a distillation is a mean over."""
        rows = case.batch.kept if aggregation == "all_rollouts" else case.batch.hinted & case.batch.kept
        return int(rows.sum())

    @staticmethod
    def shares(places, aggregation, rollouts):
        """Place -> weight in the mean over these places. In float32, as token_weights has them by contract."""
        lengths = {row: sum(i == row for i, _ in places) for row, _ in places}
        one, shares = np.float32(1), {}
        for i, t in places:
            of_row = one / np.float32(lengths[i] if "rollouts" in aggregation else 1) / np.float32(rollouts)
            shares[i, t] = float(one / np.float32(len(places)) if aggregation == "tokens" else of_row)
        return shares

    @staticmethod
    def loss(case, weights, value):
        """Sum of weight times value(token, student's probabilities) over places, and its gradient by the logits."""
        total, gradient = 0.0, torch.zeros_like(case.logits)
        for (i, t), weight in weights.items():
            at = case.token(i, t)
            found, slopes = Slow.with_slopes(lambda student, at=at: value(at, student), at.logits)
            total += weight * found
            gradient[i, t] = weight * torch.tensor(slopes, dtype=gradient.dtype)
        return total, gradient

    @staticmethod
    def means(case, logged):
        """Name -> mean of value(token, student's probabilities) over its places, for name -> (places, value).

        Values are real numbers or complex ones whose real part counts; what has no place has no mean.
        """

        def mean(places, value):
            tokens = [case.token(i, t) for i, t in places]
            found = [complex(value(at, [p.real for p in Slow.softmax(at.logits)])).real for at in tokens]
            return sum(found) / len(found)

        return {name: mean(places, value) for name, (places, value) in logged.items() if places}


@pytest.fixture(scope="session")
def random_case():
    return _random_case


@pytest.fixture(scope="session")
def measured():
    return _measured


@pytest.fixture(scope="session")
def by_logprobs():
    return _by_logprobs


@pytest.fixture(scope="session")
def agree():
    return _agree


@pytest.fixture(scope="session")
def slow():
    return Slow
