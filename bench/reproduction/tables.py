"""What was repeated, as tables for people, and the conditions under which it is compared."""

from collections.abc import Iterable, Sequence

from bench.reproduction.agreement import Agreement
from bench.reproduction.replay import LOSS_TOLERANCE, Replay
from bench.store.table import QUALITY


def _markdown(rows: Sequence[dict[str, object]]) -> str:
    import pandas as pd

    return str(pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True))


def cells_table(found: Iterable[Agreement]) -> str:
    """A row for each cell that was evaluated again: what was recorded, what was found, and whether they agree."""
    rows: list[dict[str, object]] = []
    for one in found:
        cell, then, now = one.kept.cell, one.kept.metrics, one.found.metrics
        rows.append(
            {
                "cell": one.kept.key,
                "contender": cell["model"],
                "block passes": cell["budget"],
                "iterations x steps": f"{cell['iterations'] or '-'} x {cell['steps']}",
                "sampler": cell["sampler"],
                "FD recorded": f"{then['fid']:.6g}",
                "FD found": f"{now['fid']:.6g}" if "fid" in now else one.found.status,
                "samples": "same bits" if one.same_samples else "others",
                "agrees": "yes" if not one.problems else "NO",
            }
        )
    return _markdown(rows)


def trainings_table(found: Iterable[Replay]) -> str:
    """A row for each training that was repeated."""
    rows: list[dict[str, object]] = []
    for one in found:
        rows.append(
            {
                "training": one.kept.name,
                "steps": one.steps[1] if one.steps[0] == one.steps[1] else f"{one.steps[1]}, kept {one.steps[0]}",
                "last loss kept": f"{one.losses[0]:.6g}",
                "last loss found": f"{one.losses[1]:.6g}",
                "log": "same" if one.first_apart is None else f"apart by step {one.first_apart}",
                "weights": "same bits" if one.same_weights else "others",
                "agrees": "yes" if not one.problems else "NO",
            }
        )
    return _markdown(rows)


def problems(found: Iterable[Agreement | Replay]) -> list[str]:
    """A line for each that does not agree, with the commit that recorded it: code may have changed since."""
    lines = []
    for one in found:
        name, environment = (
            (one.kept.name, one.environment) if isinstance(one, Replay) else (one.kept.key, one.kept.environment)
        )
        recorded = f" (recorded by commit {str(environment['commit'])[:12]})" if environment.get("commit") else ""
        lines += [f"{name}: {', '.join(one.problems)}{recorded}"] if one.problems else []
    return lines


def compared_how(found: Iterable[Agreement | Replay]) -> list[str]:
    """Under which conditions bits were compared, and where they were not, how much may differ."""
    conditions = {one.elsewhere: _allowed(one) for one in found}
    return [
        f"not the conditions of the record: {why}. Bits may differ; {allowed}"
        if why
        else "the conditions of the record, which give the same bits: processor, torch, threads, options"
        for why, allowed in conditions.items()
    ]


def _allowed(one: Agreement | Replay) -> str:
    if isinstance(one, Replay):
        return f"the last loss by {LOSS_TOLERANCE:.0%}"
    words = []
    for name, (relative, absolute) in one.allowed.items():
        limits = [f"{relative:.1%}"] * bool(relative) + [f"{absolute:g}"] * bool(absolute)
        words.append(f"{QUALITY[name]} by {' or '.join(limits)}")
    return ", ".join(words)
