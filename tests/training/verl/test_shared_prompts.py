"""Prompts that verl's engine computes once, against its forwards of whole rows: equal scores, fewer tokens."""

import random
import sys
from pathlib import Path

import pytest
import torch

verl = pytest.importorskip("verl")
sys.path.insert(0, str(Path(__file__).parent))

from in_process import InProcess, InProcessEngine, asking, process_group

from selfdistill.errors import UserError
from selfdistill.scoring.prefix_schedule import schedule_prefixes
from selfdistill.scoring.query import Query
from selfdistill.scoring.scores import Sequences
from selfdistill.study.teacher_settings import TeacherSettings
from selfdistill.training.verl import shared_prompts
from selfdistill.training.verl.loss import Loss
from selfdistill.training.verl.ranks import SharedPrompts
from selfdistill.training.verl.shared_prompts import SHARED, SHARED_TOKENS, sequences_of
from selfdistill.training.verl.wire import pack_scores_request

pytestmark = pytest.mark.verl

FORMS = ("padded", "packed")


def group_of_rollouts(seed=0, members=6, hints=4):
    """Responses of a group, each under hints that begin alike and are as long as a response."""
    rng = random.Random(seed)

    def words(low, high):
        return [rng.randrange(103) for _ in range(rng.randint(low, high))]

    front, texts = words(9, 9), [words(6, 14) for _ in range(members)]
    contexts = [[*front, *words(8, 16), 7, 8] for _ in range(hints)]
    pairs = [(context, text) for text in texts for context in contexts]
    rng.shuffle(pairs)
    return Sequences(*map(list, zip(*pairs, strict=True)))


SEQUENCES = group_of_rollouts()
WIDTH = max(map(len, SEQUENCES.responses)) + 1
INSIDE = torch.arange(WIDTH) < torch.tensor([len(each) for each in SEQUENCES.responses])[:, None]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    with process_group(tmp_path_factory.mktemp("store") / "file"):
        yield InProcess()


@pytest.fixture
def engine(models):
    return InProcessEngine(models, Loss("grpo", {}), TeacherSettings(kind="snapshot"), temperature=0.9)


def computed(models, call):
    """Tokens that went through the embedding, padding included, and the number of forwards."""
    sizes = []
    embedding = models.student.engine.module.get_input_embeddings()
    hook = embedding.register_forward_pre_hook(lambda _, given: sizes.append(given[0].numel()))
    try:
        call()
    finally:
        hook.remove()
    return sum(sizes), len(sizes)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("asked", ["nothing", "entropy", "top_k", "ids", "full"])
def test_scores_are_those_of_whole_rows(engine, form, packed, asked):
    made = torch.Generator().manual_seed(3)
    query = {
        "nothing": Query(),
        "entropy": Query(entropy=True),
        "top_k": Query(top_k=6),
        "ids": Query(ids=torch.randint(103, (len(SEQUENCES.prompts), WIDTH, 4), generator=made)),
        "full": Query(top_k=0, entropy=True),
    }[asked]
    engine.request |= {"use_remove_padding": packed, "max_token_len_per_gpu": 200}
    expected = engine.scorer("teacher")(SEQUENCES, WIDTH, query)
    for budget in (1, 90, 10_000):
        engine.request |= {SHARED: form, SHARED_TOKENS: budget}
        found = engine.scorer("teacher")(SEQUENCES, WIDTH, query)
        assert found.tensors.keys() == expected.tensors.keys()
        assert not found.logprobs[~INSIDE].any()
        for name, value in expected.tensors.items():
            tolerance = 1e-5 if name == "logprobs" else 3e-5  # of next to impossible tokens rounding moves more
            torch.testing.assert_close(found.tensors[name][INSIDE], value[INSIDE], rtol=1e-6, atol=tolerance)


def test_packed_rows_are_computed_once_and_no_padding_with_them(models, engine):
    whole, _ = computed(models, lambda: engine.scorer("student")(SEQUENCES, WIDTH))
    assert whole == sum(SEQUENCES.lengths)
    schedule = schedule_prefixes(SEQUENCES, 10_000)
    engine.request |= {SHARED: "packed", SHARED_TOKENS: 10_000}
    engine.scorer("student")(SEQUENCES, WIDTH)  # and tries itself
    shared, forwards = computed(models, lambda: engine.scorer("student")(SEQUENCES, WIDTH))
    assert shared == schedule.tokens < 0.6 * whole
    assert forwards == schedule.forwards(SEQUENCES, 10_000)


def test_a_form_that_gives_other_scores_is_refused_before_its_first_use(models, engine, monkeypatch):
    class Blind(shared_prompts.Padded):
        def _mask(self, width, past, index):
            return None

    monkeypatch.setattr(shared_prompts, "Padded", Blind)
    monkeypatch.setattr(models.student.engine, "_proved", set())
    engine.request |= {SHARED: "padded", SHARED_TOKENS: 1000}
    with pytest.raises(UserError, match=r"verl.shared_prompts: padded: qwen3: .* nats off"):
        engine.scorer("student")(SEQUENCES, WIDTH)


def test_a_mixture_of_two_models_reads_whole_rows(models):
    both = InProcess(with_initial=True)
    engine = InProcessEngine(both, Loss("grpo", {}), TeacherSettings(kind="trust_region", student_share=0.3))
    expected = engine.scorer("teacher")(SEQUENCES, WIDTH)
    engine.request |= {SHARED: "packed", SHARED_TOKENS: 1000}
    assert torch.equal(engine.scorer("teacher")(SEQUENCES, WIDTH).logprobs, expected.logprobs)


def test_a_request_says_its_rows(models):
    found = sequences_of(asking(pack_scores_request(SEQUENCES)))
    assert (found.prompts, found.responses) == (SEQUENCES.prompts, SEQUENCES.responses)


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_rows_of_a_prompt_are_on_one_rank(ranks):
    groups = [group_of_rollouts(seed) for seed in range(3)]
    sequences = Sequences([p for g in groups for p in g.prompts], [r for g in groups for r in g.responses])
    plan = SharedPrompts("packed", 1000).plan(sequences, ranks)
    assert len(plan.order) % ranks == 0
    real = [row for row, is_real in zip(plan.order, plan.real, strict=True) if is_real]
    assert sorted(real) == list(range(len(sequences.prompts)))
    share = len(plan.order) // ranks
    homes = {}
    for place, row in enumerate(plan.order):
        homes.setdefault(tuple(sequences.prompts[row]), set()).add(place // share)
    assert sum(len(each) - 1 for each in homes.values()) <= ranks - 1
    assert plan.tokens < 0.6 * sum(sequences.lengths)
    assert plan.options == {SHARED: "packed", SHARED_TOKENS: 1000}


def test_what_saves_little_and_what_is_off_is_not_planned():
    alone = Sequences([[i] * 9 for i in range(4)], [[1, 2, 3]] * 4)
    assert SharedPrompts("padded", 1000).plan(alone, 1) is None
    assert SharedPrompts().plan(group_of_rollouts(), 1) is None
