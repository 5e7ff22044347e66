import pytest
import torch
from safetensors.torch import load, save

from selfdistill.models.loading import cast_weights
from selfdistill.scoring.query import Query
from selfdistill.scoring.scorer import ModelScorer, score
from selfdistill.scoring.scores import Sequences
from selfdistill.signals.teacher_contexts import TeacherContexts
from selfdistill.signals.teacher_scores import score_contexts
from selfdistill.signals.teachers import Teacher, frozen_copy
from selfdistill.study.teacher_settings import CLOCKS, TeacherSettings

BOTH = {"training_steps": "optimizer_steps", "optimizer_steps": "training_steps"}


def weights(model):
    return torch.cat([p.detach().double().flatten() for p in model.parameters()])


def says(model):
    """Logits on two rows of tokens."""
    with torch.no_grad():
        return model(input_ids=torch.arange(4, 34).reshape(2, 15)).logits


@torch.no_grad()
def move(student, seed):
    """One step of training, so to speak."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in student.parameters():
        parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.05)


@pytest.mark.parametrize("clock", CLOCKS)
def test_the_initial_teacher_never_moves(make_model, clock):
    student = make_model()
    start = weights(student)
    teacher = Teacher(TeacherSettings("initial", sync_interval=1, clock=clock), student)
    for step in range(4):
        move(student, step)
        for ticking in CLOCKS:
            teacher.tick(ticking)
    assert torch.equal(weights(teacher.model), start)
    assert not torch.equal(weights(student), start)


@pytest.mark.parametrize("kind", ["live", "none"])
def test_the_live_teacher_is_the_student(make_model, kind):
    student = make_model()
    teacher = Teacher(TeacherSettings(kind), student)
    teacher.tick("training_steps")
    assert teacher.model is student


@pytest.mark.parametrize("clock", CLOCKS)
@pytest.mark.parametrize("interval", [1, 3])
def test_a_snapshot_is_taken_at_its_ticks_and_no_others(make_model, clock, interval):
    student = make_model()
    teacher = Teacher(TeacherSettings("snapshot", sync_interval=interval, clock=clock), student)
    expected = weights(student)
    for tick in range(1, 8):
        move(student, tick)
        for _ in range(tick):
            teacher.tick(BOTH[clock])  # the other clock counts nothing
        assert torch.equal(weights(teacher.model), expected)
        teacher.tick(clock)
        if tick % interval == 0:
            expected = weights(student)
        assert torch.equal(weights(teacher.model), expected)


@pytest.mark.parametrize("clock", CLOCKS)
@pytest.mark.parametrize("decay", [0.0, 0.8, 0.95, 0.999])
def test_the_moving_average_has_its_closed_form(make_model, clock, decay):
    student = make_model()
    teacher = Teacher(TeacherSettings("ema", ema_decay=decay, clock=clock), student)
    history, ticks = [weights(student)], 6
    for tick in range(1, ticks + 1):
        move(student, tick)
        history.append(weights(student))
        teacher.tick(BOTH[clock])
        teacher.tick(clock)
    expected = decay**ticks * history[0]
    expected = expected + sum((1 - decay) * decay ** (ticks - t) * history[t] for t in range(1, ticks + 1))
    torch.testing.assert_close(weights(teacher.model), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["initial", "snapshot", "ema"])
def test_a_teacher_is_frozen_and_shares_no_memory_with_the_student(make_model, kind):
    student = make_model().train()
    teacher = Teacher(TeacherSettings(kind, sync_interval=1), student)
    teacher.tick("training_steps")
    before = weights(teacher.model)
    move(student, 0)
    assert torch.equal(weights(teacher.model), before)
    assert not teacher.model.training
    assert not any(parameter.requires_grad for parameter in teacher.model.parameters())
    assert student.training
    assert all(parameter.requires_grad for parameter in student.parameters())


@pytest.mark.parametrize("stop", range(8))
@pytest.mark.parametrize("kind", ["initial", "live", "snapshot", "ema", "trust_region"])
def test_a_resumed_teacher_is_the_uninterrupted_one(make_model, kind, stop):
    """Through safetensors, at every tick; a resume builds the teacher over the initial weights, as a run does."""
    settings = TeacherSettings(kind, sync_interval=3, ema_decay=0.7, student_share=0.3)

    def run(student, teacher, ticks):
        for tick in ticks:
            move(student, tick)
            teacher.tick("training_steps")

    student = make_model()
    whole = Teacher(settings, student)
    run(student, whole, range(8))

    half_way = make_model()
    first = Teacher(settings, half_way)
    run(half_way, first, range(stop))
    state = save(first.state_dict())

    resumed = make_model()
    second = Teacher(settings, resumed)
    resumed.load_state_dict(half_way.state_dict())
    second.load_state_dict(load(state))
    run(resumed, second, range(stop, 8))
    assert torch.equal(says(second.model), says(whole.model))
    assert torch.equal(weights(resumed), weights(student))


def test_only_weights_of_its_own_are_part_of_the_state(make_model):
    student = make_model()
    names = {f"weights.{name}" for name, _ in student.named_parameters()}
    for kind in ("none", "initial", "live", "trust_region"):
        assert set(Teacher(TeacherSettings(kind), student).state_dict()) == {"ticks"}
    for kind in ("snapshot", "ema"):
        assert set(Teacher(TeacherSettings(kind), student).state_dict()) == {"ticks"} | names


def test_a_teacher_of_a_bfloat16_student_averages_in_float32(make_model):
    """In bfloat16 a shadow stands still: 0.95 x + 0.05 y rounds back to x where x and y are near."""
    student = make_model().bfloat16()
    teacher = Teacher(TeacherSettings("ema", ema_decay=0.95), student)
    assert {parameter.dtype for parameter in teacher.model.parameters()} == {torch.float32}
    start = weights(teacher.model)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.mul_(1 + 2**-7)
    for _ in range(60):
        teacher.tick("training_steps")
    covered = (weights(teacher.model) - start).norm() / (weights(student) - start).norm()
    assert float(covered) == pytest.approx(1 - 0.95**60, abs=1e-3)


def test_tied_weights_stay_tied(make_model):
    copy = frozen_copy(make_model())
    assert copy.lm_head.weight is copy.model.embed_tokens.weight


# ------------------------------------------------------------------------------------------------------- trust region


def trust_region(student, share):
    return Teacher(TeacherSettings("trust_region", student_share=share), student)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.8, 1.0])
@pytest.mark.parametrize("temperature", [0.7, 1.0])
def test_a_trust_region_is_a_normalised_geometric_mean(make_model, share, temperature):
    """In probabilities, (T, V): p_initial^(1 - c) p_student^c over its sum; the temperature comes on top of the mix."""
    student = make_model()
    teacher, initial = trust_region(student, share), make_model()
    move(student, 0)
    first, second = ((says(m).double() / temperature).softmax(dim=-1) for m in (initial, student))
    assert (first - second).abs().max() > 1e-2
    product = first ** (1 - share) * second**share
    mixed = (says(teacher.model).double() / temperature).softmax(dim=-1)
    torch.testing.assert_close(mixed, product / product.sum(dim=-1, keepdim=True), rtol=0, atol=1e-6)


def test_a_trust_region_reaches_from_the_initial_to_the_live_teacher(make_model):
    student = make_model()
    ends, initial = [trust_region(student, share) for share in (0.0, 1.0)], make_model()
    for step in range(2):
        move(student, step)
        for teacher in ends:
            for clock in CLOCKS:
                teacher.tick(clock)
        assert torch.equal(says(ends[0].model), says(initial))
        assert torch.equal(says(ends[1].model), says(student))
        assert not torch.equal(says(student), says(initial))


def test_a_trust_region_is_scored_like_any_model(make_model):
    """Padded, in micro-batches, with supports and entropies; without gradient, whoever asks."""
    student = make_model()
    teacher = trust_region(student, 0.3)
    move(student, 0)
    prompts, responses = [[4, 5, 6], [7], [8, 9, 10, 11]], [[20, 21], [22, 0, 24, 25], [26]]
    scores = score(teacher.model, Sequences(prompts, responses), 5, 12, 0.7, Query(4, entropy=True))
    contexts = TeacherContexts(prompts, [[]] * 3, 0.0)
    full = score_contexts(ModelScorer(teacher.model, 12, 0.7), contexts, responses, 5, Query(top_k=0))
    for i, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
        row = torch.tensor([[*prompt, *response]])
        with torch.no_grad():
            first, second = (m(input_ids=row).logits.double() for m in (make_model(), student))
        read = ((0.7 * first + 0.3 * second) / 0.7)[0, len(prompt) - 1 : -1].softmax(dim=-1)
        expected = {
            "logprobs": read.gather(-1, torch.tensor(response)[:, None])[:, 0].log(),
            "support": read.topk(4, dim=-1).values.log(),
            "entropy": -(read * read.log()).sum(dim=-1),
        }
        for name, values in expected.items():
            torch.testing.assert_close(getattr(scores, name)[i, : len(response)].double(), values, rtol=0, atol=1e-5)
        torch.testing.assert_close(full.correct_support[i, : len(response)].double(), read.log(), rtol=0, atol=1e-5)


def test_a_trust_region_takes_no_gradient(make_model):
    student = make_model()
    logits = trust_region(student, 0.5).model(input_ids=torch.tensor([[4, 5]])).logits
    assert not logits.requires_grad


# -------------------------------------------------------------------------------------------------------------- dtype


@pytest.mark.parametrize("kind", ["initial", "snapshot", "ema"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_teachers_own_weights_have_the_dtype_asked_for(make_model, kind, dtype):
    """Ticks keep it, and what is saved has it."""
    student = make_model()
    teacher = Teacher(TeacherSettings(kind, sync_interval=1, ema_decay=0.5), student, dtype)
    move(student, 0)
    teacher.tick("training_steps")
    assert {parameter.dtype for parameter in teacher.model.parameters()} == {dtype}
    assert {parameter.dtype for parameter in student.parameters()} == {torch.float32}
    saved = {value.dtype for name, value in teacher.state_dict().items() if name != "ticks"}
    assert saved == (set() if kind == "initial" else {dtype})


def test_a_trust_region_rounds_its_initial_weights_and_mixes_in_float32(make_model):
    student, rounded = make_model(), cast_weights(make_model(), torch.bfloat16)
    teacher = Teacher(TeacherSettings("trust_region", student_share=0.25), student, torch.bfloat16)
    move(student, 0)
    mixed = says(teacher.model)
    assert mixed.dtype == torch.float32
    torch.testing.assert_close(mixed, 0.75 * says(rounded).float() + 0.25 * says(student), rtol=0, atol=1e-5)


def test_a_bfloat16_snapshot_is_the_rounded_student(make_model):
    student = make_model()
    teacher = Teacher(TeacherSettings("snapshot", sync_interval=1), student, torch.bfloat16)
    move(student, 0)
    teacher.tick("training_steps")
    rounded = torch.cat([p.detach().bfloat16().double().flatten() for p in student.parameters()])
    assert torch.equal(weights(teacher.model), rounded)
