"""Check kept numbers by making some of them again: python bench/audit.py --suite digits --cells 5"""

import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

if __name__ == "__main__":  # import this code, whatever else Python's path has of the same names
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.reproduction.choice import Kept, by_hash, by_key, measured, with_weights
from bench.reproduction.consistency import cells_by_key, contradictions
from bench.spec.arguments import Places, Training, Which, selection_of, suite_of
from bench.spec.cells import TrainingRun
from bench.spec.contenders import Suite
from bench.spec.measurements import AnyCell
from bench.spec.selection import Selection, replicates, training_run
from bench.store.own_images import read_own
from bench.store.prices import resolved
from bench.store.records import Store
from bench.system.command_line import Group, parse, run
from bench.system.errors import BadInputError
from bench.system.files import check_writable

if TYPE_CHECKING:
    from bench.reproduction.agreement import Agreement

SHOWN = 10  # contradictions that are printed one by one


@dataclass(frozen=True)
class Checked(Which):
    """Which numbers are made again."""

    cells: int = 5
    """Cells to sample again; 0 for none."""
    only: tuple[str, ...] = ()
    """Keys of cells, or first characters of keys: sample these instead."""
    choice: int = 0
    """The cells are those with the smallest SHA-256 of this number and their key: another number, other cells."""
    longest: float | None = None
    """Choose among cells that took at most this many seconds when they were recorded."""
    replay: bool = False
    """Train again, for the steps that the kept trainings took, and sample with those weights. By default the first
    replicate of every contender that has a kept training; see --models and --seeds."""


@dataclass(frozen=True)
class Folders(Places):
    """Where results and datasets lie."""

    out: Path | None = None
    """Folder for what is made again, which is not the kept results. Default: one that is deleted at the end; --replay
    needs one to go on in."""


@dataclass(frozen=True)
class Arguments:
    """Sample cells again from kept weights and compare them with their records; check what needs no sampling.

    Nothing is written to the results. The exit status is 1 if a number does not agree.
    """

    what: Group[Checked] = Checked()
    """Suite, contenders and cells."""
    training: Group[Training] = Training()
    """Training of the contenders, where it differs from the suite."""
    places: Group[Folders] = Folders()
    """Folders and files."""

    def check(self) -> None:
        """BadInputError for invalid values."""
        what, places = self.what, self.places
        if what.cells < 0:
            raise BadInputError(f"--cells {what.cells}: must be 0 or more")
        if what.longest is not None and not what.longest > 0:
            raise BadInputError(f"--longest {what.longest:g}: must be more than 0")
        if what.replay and places.out is None:
            raise BadInputError("--replay: give --out DIR, a folder for the trainings that are repeated")
        if places.out is not None and places.out.resolve() == places.results.resolve():
            raise BadInputError(f"--out {places.out}: there are the kept results, which are only read; name another")


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    arguments = parse(Arguments, argv)
    arguments.check()
    what, places = arguments.what, arguments.places
    suite = suite_of(what, arguments.training, read_own(places.results, what.suite))
    store = Store(places.results, suite.name)
    selection = resolved(selection_of(what, arguments.training), store, suite)
    if not (count := len(list(store.records()))):
        raise BadInputError(f"no records in {store.root.resolve()}: give --results")
    cells = cells_by_key(suite, selection)
    wrong = list(contradictions(store, cells))
    for line in wrong[:SHOWN]:
        print(line)
    if len(wrong) > SHOWN:
        print(f"and {len(wrong) - SHOWN} more")
    print(f"{store.root}: {count} records; contradictions among records, tables and weights: {len(wrong) or 'none'}")
    again = _replay if what.replay else _resample
    return 1 if again(arguments, suite, store, selection, cells) or wrong else 0


def _resample(
    arguments: Arguments, suite: Suite, store: Store, selection: Selection, cells: Mapping[str, AnyCell]
) -> bool:
    """Sample cells from kept weights; returns whether a number does not agree."""
    if not (runs := with_weights(store, cells.values())):
        print(f"{store.root / 'weights'}: no usable weights are kept there, so no cell is sampled again")
        return False
    if not (chosen := _chosen(arguments.what, measured(store, cells, runs))):
        return False
    from bench.reproduction.agreement import agreement
    from bench.reproduction.resampling import evaluate_like, lend

    with _folder(arguments, suite) as into:
        lend(store, into, [one.cell.run for one in chosen])
        found = evaluate_like([(one.cell, one.record) for one in chosen], into, arguments.places)
    return _told([agreement(one.record, found[one.cell.key]) for one in chosen])


def _replay(
    arguments: Arguments, suite: Suite, store: Store, selection: Selection, cells: Mapping[str, AnyCell]
) -> bool:
    """Repeat trainings and sample cells of them; returns whether a number does not agree."""
    from bench.reproduction.agreement import agreement
    from bench.reproduction.replay import repetition, train_again
    from bench.reproduction.resampling import evaluate_like, lend
    from bench.reproduction.tables import compared_how, problems, trainings_table

    runs = _trained(arguments.what, suite, store, selection)
    chosen = _chosen(arguments.what, measured(store, cells, runs))
    again = {training: repetition(store, training) for training in runs}
    with _folder(arguments, suite) as into:
        lend(store, into, [])
        replays = list(train_again(store, into, again, arguments.places))
        print("\n".join([trainings_table(replays), *compared_how(replays), *problems(replays)]), flush=True)
        pairs = [(replace(one.cell, run=again[one.cell.run]), one.record) for one in chosen]
        found = evaluate_like(pairs, into, arguments.places)
    same = {one.kept: one.same_weights for one in replays}
    made = zip(chosen, pairs, strict=True)
    agreements = [agreement(one.record, found[cell.key], same[one.cell.run]) for one, (cell, _) in made]
    return _told(agreements) or any(one.problems for one in replays)


def _trained(what: Checked, suite: Suite, store: Store, selection: Selection) -> list[TrainingRun]:
    """The kept trainings of the named contenders, or of all, and of the seeds, or of the first replicate."""
    contenders = suite.contenders if what.models is None else suite.chosen(what.models)
    seeds = what.seeds or replicates(suite, selection)[:1]
    runs = dict.fromkeys(training_run(suite, one, selection, seed) for seed in seeds for one in contenders)
    found = [one for one in runs if what.models is not None or store.read_training(one) is not None]
    if not found:
        raise BadInputError(f"--replay: {store.root / 'training'} has no training of this suite's contenders")
    return found


def _chosen(what: Checked, kept: Sequence[Kept]) -> list[Kept]:
    """The cells to sample, and a line that says how they were chosen."""
    if what.only:
        return by_key(kept, what.only)
    short = [one for one in kept if what.longest is None or one.seconds <= what.longest]
    chosen = by_hash(short, what.cells, what.choice)
    left = f"; {len(kept) - len(short)} that took more than {what.longest:g} s are left out" if what.longest else ""
    print(
        f"sampled again: {len(chosen)} of {len(short)} cells, chosen by hash (--choice {what.choice}){left}", flush=True
    )
    return chosen


def _told(found: "Sequence[Agreement]") -> bool:
    """Print what agrees; returns whether something does not."""
    if not found:
        return False
    from bench.reproduction.tables import cells_table, compared_how, problems

    print("\n".join([cells_table(found), *compared_how(found), *problems(found)]))
    return any(one.problems for one in found)


@contextmanager
def _folder(arguments: Arguments, suite: Suite) -> Iterator[Store]:
    """Where cells are evaluated: --out, or a folder that is deleted at the end."""
    if (out := arguments.places.out) is not None:
        check_writable(out, f"--out {out}")
        yield Store(out, suite.name)
        return
    with tempfile.TemporaryDirectory(prefix="audit-") as folder:
        yield Store(Path(folder), suite.name)


if __name__ == "__main__":
    sys.exit(run(main))
