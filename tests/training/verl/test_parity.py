"""The heart of the plug-in: the same batch under the same weights has one loss and one gradient, whoever trains.

The reference is the plain loop of the local trainer: left-padded rows, materialised logits, micro-batch by micro-batch.
"""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

verl = pytest.importorskip("verl")
sys.path.insert(0, str(Path(__file__).parent))

from in_process import TINY, InProcess, InProcessEngine, Options, asking, gradients_of, process_group, weights_of

from selfdistill.methods.catalogue import shipped_entries
from selfdistill.models.loading import load_model
from selfdistill.objectives.aggregation import token_weights
from selfdistill.objectives.batch import Batch, Student
from selfdistill.objectives.methods import METHODS, build_method
from selfdistill.scoring.query import Query
from selfdistill.scoring.scorer import micro_batches, read_responses, score
from selfdistill.scoring.scores import Sequences
from selfdistill.study.run_settings import OptimizerSettings
from selfdistill.study.teacher_settings import TeacherSettings
from selfdistill.training.local.engine import LocalEngine
from selfdistill.training.update import LOSS, added, micro_batch_update
from selfdistill.training.verl.loss import Loss
from selfdistill.training.verl.wire import pack_update

pytestmark = pytest.mark.verl

TEMPERATURE, KL = 0.9, 0.01
PROMPTS = [9, 4, 13, 1, 6, 6, 11, 2]
RESPONSES = [7, 12, 1, 5, 9, 3, 12, 8]
#: Method and changes to its published values.
CASES = [(name, {}) for name in METHODS] + [("opsd", {"top_k": 0}), ("sdpo", {"top_k": 0})]
CASES += [("opd", {"extrapolation": 1.25, "task_weight": 0.5}), ("opd_divergence", {"beta": 0.0, "top_k": 9})]


@pytest.fixture(scope="module")
def objectives():
    methods = shipped_entries()
    return {entry["implementation"]: entry["objective"] for entry in methods.values()}


@pytest.fixture(scope="module")
def group(tmp_path_factory):
    with process_group(tmp_path_factory.mktemp("store") / "file"):
        yield


@pytest.fixture(scope="module")
def worker(group):
    """One engine for all cases that leave its weights alone; packing and budgets travel with the data."""
    return InProcess()


@pytest.fixture
def model():
    return load_model(TINY, torch.device("cpu"))[0]


@pytest.fixture(scope="module")
def sequences():
    """Ids of words of the toy; pad and end tokens occur inside, as they may."""
    made = torch.Generator().manual_seed(1)
    prompts, responses = ([torch.randint(103, (n,), generator=made).tolist() for n in s] for s in (PROMPTS, RESPONSES))
    responses[0][2], responses[1][-1] = 0, 2
    return Sequences(prompts, responses)


def global_batch(model, sequences, needs):
    """Everything that a method may ask for: ragged hints, a row without, one out of the batch, mixed outcomes."""
    made = torch.Generator().manual_seed(2)
    rows, width, hints = len(PROMPTS), max(RESPONSES), 3
    mask = torch.arange(width) < torch.tensor(RESPONSES)[:, None]
    whole = score(model, sequences, width, 10_000, TEMPERATURE, Query(top_k=0))

    def near(values, scale):
        return (values + scale * torch.randn(values.shape, generator=made)).clamp(max=-1e-4)

    hinted = torch.tensor([True] * rows)
    hinted[3] = False
    real = torch.arange(hints) < torch.tensor([3, 1, 2, 0, 3, 2, 1, 1])[:, None]
    batch = Batch(
        response_mask=mask,
        advantages=torch.tensor([0.7, -0.7, 1.1, -1.1, 0.4, -0.4, 0.0, 0.9]),
        old_logprobs=near(whole.logprobs, 0.3),
        step=7,
        correct=torch.tensor([True, False] * 4),
        importance=1 + 0.5 * torch.rand(rows, width, generator=made),
        reference_logprobs=near(whole.logprobs, 0.2),
        kept=torch.arange(rows) != 5,
    )
    if needs.reference:
        batch = batch.extended(teacher_reference_logprobs=near(whole.logprobs, 0.2))
    if needs.teacher:
        batch = batch.extended(
            current_logprobs=near(whole.logprobs, 0.01),
            correct_logprobs=near(whole.logprobs, 0.5),
            wrong_logprobs=near(whole.logprobs[:, None].repeat(1, hints, 1), 0.5),
            wrong_mask=real,
            teacher_entropy=torch.rand(rows, width, generator=made),
            hinted=hinted,
        )
    if needs.support is not None:
        top_k = needs.support.top_k
        ids = whole.support.topk(top_k, dim=-1).indices if top_k else None

        def distribution():
            logits = whole.support + torch.randn(whole.support.shape, generator=made)
            logprobs = logits.log_softmax(dim=-1)
            return logprobs if ids is None else logprobs.gather(-1, ids)

        supports = {"correct_support": distribution(), "wrong_support": distribution()}
        batch = batch.extended(**supports, **({} if ids is None else {"support_ids": ids}))
    return batch


def problem(model, sequences, method, entropy_coef=0.0):
    """Batch, targets and KL weights as the driver makes them."""
    batch = global_batch(model, sequences, method.needs)
    if entropy_coef:
        batch = batch.extended(entropy_weights=entropy_coef * token_weights(batch.token_mask, "tokens", batch.rollouts))
    targets = method.targets(batch, "tokens")
    assert targets.weights.any()
    return batch, targets, KL * token_weights(batch.token_mask, "tokens", batch.rollouts)


def plain_loop(model, method, sequences, batch, targets, kl_weights):
    """Sums and gradients of every parameter."""
    full = method.needs.support is not None and batch.support_ids is None
    query = Query(0 if full else None, batch.support_ids, entropy=batch.entropy_weights is not None)
    model.zero_grad()
    parts = []
    for rows in micro_batches(sequences, 60):
        index = torch.tensor(rows)
        part, part_targets = batch.rows(index), targets.rows(index)
        found = read_responses(model, sequences, rows, TEMPERATURE, query.part(rows))
        width = found.logprobs.shape[1]
        student, part, part_targets = (
            Student(found.logprobs, found.support, found.entropy),
            part.narrowed(width),
            part_targets.narrowed(width),
        )
        loss, sums = micro_batch_update(method, student, part, part_targets, kl_weights[index, :width])
        loss.backward()
        parts.append(sums)
    assert len(parts) > 2
    return added(parts), {name: p.grad.clone() for name, p in model.named_parameters()}


def agree(found, expected, tolerance=1e-5):
    assert found.keys() == expected.keys()
    for name, (value, count) in expected.items():
        assert found[name][1] == count, name
        assert found[name][0] == pytest.approx(value, rel=tolerance, abs=tolerance), name


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join([case[0], *map(str, case[1])]))
def test_loss_and_gradients_are_those_of_the_local_trainer(worker, model, sequences, objectives, case):
    implementation, changes = case
    objective = objectives[implementation] | changes
    compare(worker, model, sequences, implementation, objective)


@pytest.mark.parametrize("implementation", ["rlsd_add", "opsd"])
def test_so_they_are_with_an_entropy_bonus(worker, model, sequences, objectives, implementation):
    compare(worker, model, sequences, implementation, objectives[implementation], entropy_coef=0.3)


def compare(worker, model, sequences, implementation, objective, entropy_coef=0.0):
    """Loss, sums and gradients of one batch, packed or padded, in one micro-batch or four."""
    method = build_method(implementation, objective)
    batch, targets, kl_weights = problem(model, sequences, method, entropy_coef)
    sums, gradients = plain_loop(model, method, sequences, batch, targets, kl_weights)
    assert max(float(g.abs().max()) for g in gradients.values()) > 1e-3

    engine = worker.student.engine
    for packed in (True, False):
        for budget, count in ((30, 4), (10_000, 1)):
            data = asking(
                pack_update(sequences, batch, targets, kl_weights),
                temperature=TEMPERATURE,
                head_rows=5,
                use_remove_padding=packed,
                max_token_len_per_gpu=budget,
            )
            with engine.train_mode():
                engine.optimizer_zero_grad()
                output = engine.forward_backward_batch(data, Loss(implementation, objective))
                found = gradients_of(worker)
            assert len(output["loss"]) == count
            assert sum(output["loss"]) == pytest.approx(sums[LOSS][0], rel=1e-5, abs=1e-5)
            agree(added(output["metrics"]["sums"]), sums)
            assert found.keys() == gradients.keys()
            for name, gradient in gradients.items():
                torch.testing.assert_close(found[name], gradient, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("budget", [1, 40, 10_000])
@pytest.mark.parametrize("asked", ["nothing", "entropy", "top_k", "ids", "full"])
def test_scores_are_those_of_the_local_trainer(worker, model, sequences, packed, budget, asked):
    made = torch.Generator().manual_seed(3)
    width = max(RESPONSES) + 2
    query = {
        "nothing": Query(),
        "entropy": Query(entropy=True),
        "top_k": Query(top_k=6),
        "ids": Query(ids=torch.randint(103, (len(PROMPTS), width, 4), generator=made)),
        "full": Query(top_k=0, entropy=True),
    }[asked]
    engine = InProcessEngine(worker, Loss("grpo", {}), TeacherSettings(kind="live"), TEMPERATURE)
    engine.request |= {"use_remove_padding": packed, "max_token_len_per_gpu": budget}
    found = engine.scorer("teacher")(sequences, width, query)
    expected = score(model, sequences, width, 60, TEMPERATURE, query)
    inside = torch.arange(width) < torch.tensor(RESPONSES)[:, None]
    assert not found.logprobs[~inside].any()
    assert found.tensors.keys() == expected.tensors.keys()
    for name, value in expected.tensors.items():
        torch.testing.assert_close(found.tensors[name][inside], value[inside], rtol=1e-6, atol=1e-5)


def test_sequences_by_themselves_score_the_same(worker, model, sequences):
    scorer = InProcessEngine(worker, Loss("grpo", {}), TeacherSettings(kind="live"), TEMPERATURE).scorer("student")
    assert scorer.vocabulary == 103
    found = scorer(sequences, max(RESPONSES), alone=True)
    expected = score(model, sequences, max(RESPONSES), 10_000, TEMPERATURE)
    inside = torch.arange(max(RESPONSES)) < torch.tensor(RESPONSES)[:, None]
    torch.testing.assert_close(found.logprobs[inside], expected.logprobs[inside], rtol=0, atol=1e-5)


def test_updates_are_those_of_the_local_trainer(group, model, sequences, objectives):
    """Two steps of AdamW: sums, norms and every weight.

    The second gradient is larger but for its clipping, and the decay is strong: either would show, were it another one.
    Rates are low since AdamW makes a whole step of whatever sign a vanishing gradient has.
    """
    optimizer = OptimizerSettings(1e-3, 5.0, 0, 0.5, "float32")
    method = build_method("rlcsd", objectives["rlcsd"])
    local = LocalEngine(
        model, method, TeacherSettings(), optimizer, micro_batch_tokens=60, temperature=TEMPERATURE, keep_initial=False
    )
    worker = InProcess(Options(learning_rate=7.0, weight_decay=5.0, max_grad_norm=0.5, budget=40))
    engine = InProcessEngine(worker, Loss("rlcsd", objectives["rlcsd"]), TeacherSettings(), TEMPERATURE)
    before = weights_of(worker)
    for rate, factor in ((1e-5, 1), (3e-5, 20)):
        batch, targets, kl_weights = problem(model, sequences, method)
        rows = batch, replace(targets, weights=factor * targets.weights), kl_weights
        (sums, norm), (local_sums, local_norm) = (each.update(sequences, *rows, rate) for each in (engine, local))
        agree(sums, local_sums)
        assert norm == pytest.approx(local_norm, rel=1e-5)
        assert norm > 0.5 * factor
    after = weights_of(worker)
    for name, weight in model.named_parameters():
        assert (after[name] - before[name]).abs().max() > 2e-5
        torch.testing.assert_close(after[name], weight.detach(), rtol=0, atol=1e-6)


def test_a_gradient_that_is_not_finite_changes_nothing_and_is_told(group, model, sequences, objectives):
    method, worker = build_method("grpo", objectives["grpo"]), InProcess(Options(budget=40))
    engine = InProcessEngine(worker, Loss("grpo", objectives["grpo"]), TeacherSettings(), TEMPERATURE)
    batch, targets, kl_weights = problem(model, sequences, method)

    def state():
        states = worker.student.engine.optimizer.state.values()
        numbers = [v.full_tensor() if hasattr(v, "full_tensor") else v for s in states for v in s.values()]
        return [*weights_of(worker).values(), *[torch.as_tensor(v).clone() for v in numbers]]

    engine.update(sequences, batch, targets, kl_weights, 1e-3)
    before = state()
    targets.weights[4] = torch.nan
    _, norm = engine.update(sequences, batch, targets, kl_weights, 1e-3)
    assert norm != norm
    for was, now in zip(before, state(), strict=True):
        assert torch.equal(was, now)
    targets.weights[4] = 0.1
    _, norm = engine.update(sequences, batch, targets, kl_weights, 1e-3)
    assert 0 < norm < 1e6
    assert not torch.equal(before[0], state()[0])
