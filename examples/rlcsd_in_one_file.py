r"""Trains a toy model with RLCSD in one file, read from top to bottom: sample, grade, hint, score, lose, step.

RLCSD (arXiv 2606.11709, sect. 4) is GRPO whose token advantages are shifted: a token gets more credit where a teacher
that reads a *correct* solution finds it likelier than the same teacher reading *wrong* ones. Both hints stand in the
same words, so what any hint changes (style) cancels, and what only the correct one changes (content) is left.

    python examples/rlcsd_in_one_file.py --steps 8

The task is arithmetic modulo 10, the model has 0.23 million weights, and a step takes seconds on one core. Everything
that the method does is in this file; the library lends the problems and the keyed random numbers, no more. A test holds
rollouts, loss and gradient of this file equal to those of the library (tests/examples).

Shapes: B rollouts of one step (prompts x GROUP), T response tokens, K wrong hints. Log-probs in nats.
"""

import argparse
import copy
import re
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from selfdistill.randomness import generator
from selfdistill.tasks.arithmetic import generate

BASE_MODEL = Path(__file__).parents[1] / "resources/base_models/tiny_qwen3/arithmetic"
PROMPTS, GROUP, MAX_TOKENS = 8, 8, 80  # prompts of a step, rollouts of a prompt, tokens of a response
LEARNING_RATE, MAX_NORM, SYNC = 4e-5, 1.0, 5  # every SYNC steps the teacher becomes a copy of the student
TAU, BETA, LAM, DELTA, ETA, EPSILON, K_MAX = 0.02, 1.0, 0.5, 0.02, 1.0, 0.2, 4  # as published

INSTRUCTION = r"Please reason step by step, and put your final answer within \boxed{}."
STUDENT = "Problem: {problem}\n\n" + INSTRUCTION.replace("{}", "{{}}")
TEACHER = """Problem: {problem}
Here is a reference solution to this problem.
=== Reference solution begins ===
{solution}

The correct final answer is: {answer}
=== Reference solution ends ===

Make sure that you understand the reasoning behind each step of the reference solution.
""" + INSTRUCTION.replace("{}", "{{}}")


def encode(tokenizer, text):
    """Returns the token ids of one user message in the model's chat template."""
    chat = tokenizer.apply_chat_template(
        [{"role": "user", "content": text}], add_generation_prompt=True, tokenize=False
    )
    return tokenizer(chat, add_special_tokens=False).input_ids


# ------------------------------------------------------------------------------------------------------------- sample
@torch.no_grad()
def sample(model, tokenizer, prompt, uniforms):
    """Returns the token ids of one response: at each step the token where the cumulative probability passes u."""
    response = []
    for u in uniforms:
        logits = model(torch.tensor([prompt + response])).logits[0, -1]
        probabilities, ids = logits.softmax(-1).sort(descending=True, stable=True)
        cumulative = probabilities.double().cumsum(-1)
        response.append(int(ids[torch.searchsorted(cumulative, u * cumulative[-1], right=True)]))
        if response[-1] == tokenizer.eos_token_id:
            break
    return response


# -------------------------------------------------------------------------------------------------------------- grade
def boxed(text):
    r"""Returns what stands in the last \boxed{} of a response, None without one."""
    found = re.findall(r"\\boxed\{([^{}]*)\}", text)
    return found[-1] if found else None


def advantages_of(rewards):
    """Returns GRPO's advantages of one group, (GROUP,): (r - mean) / (deviation + 1e-6); zero where all are alike."""
    if rewards.min() == rewards.max():
        return torch.zeros_like(rewards)
    return (rewards - rewards.mean()) / (rewards.std() + 1e-6)


# --------------------------------------------------------------------------------------------------------------- hint
def hints_of(rewards, answers, key):
    """Returns, by rollout of one group, (its correct sibling, its wrong siblings), or None where one of them lacks."""
    right = [i for i, reward in enumerate(rewards) if reward > 0]
    wrong = [i for i, reward in enumerate(rewards) if reward <= 0 and answers[i] is not None]
    hints = []
    for target in range(len(rewards)):
        correct = [i for i in right if i != target]  # nobody is its own hint
        others = [i for i in wrong if i != target]
        if not correct or not others:
            hints.append(None)
            continue
        order = generator("wrong hints", *key, target).permutation(len(others))[:K_MAX]
        chosen = correct[int(generator("correct hint", *key, target).integers(len(correct)))]
        hints.append((chosen, [others[i] for i in order]))
    return hints


# -------------------------------------------------------------------------------------------------------------- score
def logprobs_of(model, prompt, response):
    """Returns (T,) log-probs of a response's tokens after a prompt, with gradient where the model has one."""
    logits = model(torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1]
    return logits.float().log_softmax(-1).gather(-1, torch.tensor(response)[:, None])[:, 0]


@torch.no_grad()
def evidence_of(teacher, response, correct_prompt, wrong_prompts):
    """Returns (T,) log p(token | correct hint) - log mean_k p(token | wrong hint k): the contrast (Eq. 10-11)."""
    wrong = torch.stack([logprobs_of(teacher, prompt, response) for prompt in wrong_prompts])  # (K, T)
    return logprobs_of(teacher, correct_prompt, response) - wrong.exp().mean(0).log()


# --------------------------------------------------------------------------------------------------------------- lose
def shifted(advantage, evidence):
    """Returns (T,) token advantages and (T,) bool, which tokens were shifted (Eq. 12-14)."""
    residual = (BETA * LAM * torch.tanh(evidence / TAU)).clamp(-2, 2)
    selected = residual.abs() > DELTA
    # A shift may bring an advantage to zero, never across it: the verifier has the last word on the sign.
    anchored = (advantage + residual).clamp(min=0) if advantage > 0 else (advantage + residual).clamp(max=0)
    return torch.where(selected, anchored, advantage), selected


def loss_of(logprobs, old, advantages, selected):
    """Returns RLCSD's loss of B rollouts, each a (T,) tensor: one mean over plain tokens, one over shifted ones."""
    logprobs, old, advantages, selected = map(torch.cat, (logprobs, old, advantages, selected))
    ratio = (logprobs - old).exp()
    losses = torch.maximum(-advantages * ratio, -advantages * ratio.clamp(1 - EPSILON, 1 + EPSILON))
    plain, modulated = losses[~selected], losses[selected]
    return plain.sum() / max(len(plain), 1) + ETA * modulated.sum() / max(len(modulated), 1)


# --------------------------------------------------------------------------------------------------------------- step
def rows_of_group(student, teacher, tokenizer, chain, key):
    """Samples, grades, hints and scores the rollouts of one prompt.

    Returns their rewards, and a row (prompt, response, advantages, selected) for each that goes into the loss.
    """
    prompt, (seed, step, place) = encode(tokenizer, STUDENT.format(problem=chain.text())), key
    keys = [(seed, "rollout", step, place, member) for member in range(GROUP)]
    responses = [sample(student, tokenizer, prompt, generator(*each).random(MAX_TOKENS)) for each in keys]
    texts = [tokenizer.decode(response, skip_special_tokens=True) for response in responses]
    answers = [boxed(text) for text in texts]
    rewards = torch.tensor([float(answer == chain.answer) for answer in answers])
    if rewards.min() == rewards.max():  # no contrast and no advantage: the group leaves the batch
        return rewards, []

    def hinted(sibling):
        solution, answer = texts[sibling], answers[sibling]
        return encode(tokenizer, TEACHER.format(problem=chain.text(), solution=solution, answer=answer))

    rows = []
    for response, advantage, hints in zip(
        responses, advantages_of(rewards), hints_of(rewards, answers, key), strict=True
    ):
        if hints is None:  # a lone correct or wrong rollout: GRPO's advantage as it is
            advantages, selected = advantage.expand(len(response)), torch.zeros(len(response), dtype=torch.bool)
        else:
            evidence = evidence_of(teacher, response, hinted(hints[0]), [hinted(i) for i in hints[1]])
            advantages, selected = shifted(advantage, evidence)
        rows.append((prompt, response, advantages, selected))
    return rewards, rows


def loss_of_step(student, teacher, tokenizer, chains, seed, step):
    """Returns the loss of one training step, with gradient (None: no group was of mixed outcome), and the accuracy."""
    groups = [rows_of_group(student, teacher, tokenizer, c, (seed, step, i)) for i, c in enumerate(chains)]
    accuracy = torch.stack([rewards for rewards, _ in groups]).mean().item()
    rows = [row for _, rows in groups for row in rows]
    if not rows:
        return None, accuracy
    logprobs = [logprobs_of(student, prompt, response) for prompt, response, _, _ in rows]
    # One update a step, so the policy that sampled is the policy that learns: the ratio is 1, its gradient is not 0.
    old = [each.detach() for each in logprobs]
    return loss_of(logprobs, old, [row[2] for row in rows], [row[3] for row in rows]), accuracy


def train(steps, seed=0, folder=BASE_MODEL):
    """Trains the toy for some steps, one line of progress each; returns the student."""
    tokenizer, student = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder).eval()
    teacher = copy.deepcopy(student)
    optimizer = torch.optim.AdamW(student.parameters(), lr=LEARNING_RATE, weight_decay=0.01)
    for step in range(1, steps + 1):
        chains = [generate(generator(seed, "problem", step, i), operations=(3, 5, 8)[i % 3]) for i in range(PROMPTS)]
        loss, accuracy = loss_of_step(student, teacher, tokenizer, chains, seed, step)
        print(f"step {step}: accuracy {accuracy:.2f}, loss {'none' if loss is None else format(loss.item(), '+.4f')}")
        if loss is not None:
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(student.parameters(), MAX_NORM)
            optimizer.step()
        if step % SYNC == 0:
            teacher = copy.deepcopy(student)
    return student


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Train a toy model with RLCSD, from one file.")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    train(arguments.steps, arguments.seed)
