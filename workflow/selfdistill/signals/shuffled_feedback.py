"""Assigns feedback of other rollouts, a negative control from which nothing may be learned."""

from collections.abc import Hashable, Sequence

from selfdistill.randomness import Key, generator


def shuffled_feedback(
    feedback: Sequence[str],
    key: tuple[Key, ...],
    *,
    groups: Sequence[Hashable],
    topics: Sequence[str] | None = None,
) -> list[str]:
    """Return for each rollout what was said of one of another prompt, and of another topic; "" where there is none.

    What was said of a rollout of the same prompt could be true of this one, and so could another text about the same
    thing. Where nothing was said of a rollout, nothing is.

    Args:
        feedback: of all rollouts of a step; blank where nothing was said.
        key: names the random streams; each rollout draws from its own.
        groups: what tells the prompt of each.
        topics: what each feedback is about (Graded.topic); the texts themselves if None.
    """
    topics = feedback if topics is None else topics
    drawn = []
    for row, own in enumerate(feedback):
        others = [
            said
            for said, group, topic in zip(feedback, groups, topics, strict=True)
            if own.strip() and said.strip() and group != groups[row] and topic != topics[row]
        ]
        drawn.append(others[int(generator("shuffled feedback", *key, row).integers(len(others)))] if others else "")
    return drawn
