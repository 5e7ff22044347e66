"""What was published with each method, and what a pre-flight measures."""

from selfdistill.methods.catalogue import shipped
from selfdistill.study.preflight import MEASURES


def published_values() -> str:
    """Returns the table of what was published with each method besides its objective, and where."""
    lines = ["| Method | Teacher | Hints | Gradient's norm | KL | Papers |", "|---|---|---|---|---|---|"]
    for name, kind in shipped().items():
        parts = {section: dict(values) for section, values in kind.published.items()}
        teacher, hints = (", ".join(_said(parts.get(section, {}))) or "none" for section in ("teacher", "hints"))
        papers = "; ".join(f"[{paper}](https://arxiv.org/abs/{paper.partition(',')[0]})" for paper in kind.papers)
        norm, weight = parts["optimizer"]["max_grad_norm"], parts["update"]["kl_coef"]
        lines.append(f"| {name} | {teacher} | {hints} | {norm:g} | {weight:g} | {papers or 'the TC-RLSD note'} |")
    return "\n".join(lines)


def _said(values: dict) -> list[str]:
    return [f"`{value}`" if key in ("kind", "source") else f"`{key}` {value}" for key, value in values.items()]


def measures() -> str:
    """Returns the table of what a pre-flight measures."""
    rows = [f"| `{name}` | {text} |" for name, text in MEASURES.items()]
    return "\n".join(["| measure | meaning |", "|---|---|", *rows])
