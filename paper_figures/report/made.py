"""How records were made: environments and inputs, each once with a number, and the trainings of the weights."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.spec.cells import TrainingRun
from bench.spec.contenders import Suite
from bench.store.records import Store
from paper_figures.report.records import Entry


class Numbered:
    """Different descriptions, numbered from 1 in the order in which they are first given."""

    def __init__(self) -> None:
        self.known: list[dict[str, Any]] = []
        self._numbers: dict[str, int] = {}

    def number(self, description: Mapping[str, Any]) -> int:
        """The number of a description; a new one gets the next."""
        text = json.dumps(description, sort_keys=True)
        if text not in self._numbers:
            self.known.append(dict(description))
            self._numbers[text] = len(self.known)
        return self._numbers[text]

    @property
    def shared(self) -> dict[str, Any]:
        """The fields that all descriptions have alike."""
        first = self.known[0] if self.known else {}
        return {name: value for name, value in first.items() if all(one.get(name) == value for one in self.known)}

    @property
    def apart(self) -> list[str]:
        """The names of the other fields, in the order in which they come."""
        names = dict.fromkeys(name for one in self.known for name in one)
        return [name for name in names if name not in self.shared]


@dataclass(frozen=True)
class Training:
    """The training of weights that records are of.

    Attributes:
        name: of its files in `training/`.
        label: of its contender.
        summary: as `Store.read_training` returns it.
        budget: seconds or steps, as text.
        environment: number of its environment; 0 if it names none.
        records: how many records are of its weights.
    """

    name: str
    label: str
    summary: Mapping[str, Any]
    budget: str
    environment: int
    records: int

    @property
    def anchor(self) -> str:
        """Name of its row in the page's addresses."""
        return f"training-{self.name}"


@dataclass(frozen=True)
class Made:
    """Environments and inputs with the numbers that records have of them, and trainings by name."""

    environments: Numbered
    inputs: Numbered
    of_records: Mapping[str, tuple[int, int]]
    made_in: Mapping[int, int]
    trainings: Mapping[str, Training]


def made(found: Sequence[Entry], runs: Iterable[TrainingRun], suite: Suite, store: Store) -> Made:
    """How these records were made; `runs`: the trainings that the suite's cells may be of."""
    environments, inputs, of_records = Numbered(), Numbered(), {}
    for entry in sorted(found, key=lambda one: (one.record.finished_at, one.key)):
        given = {name: digest for name, digest in entry.record.inputs.items() if name != "checkpoint"}
        number = environments.number(entry.record.environment) if entry.record.environment else 0
        of_records[entry.key] = number, inputs.number(given) if given else 0
    counts = Counter(str(entry.row["train_run"] or "") for entry in found)
    labels, trainings = {one.name: one.label for one in suite.contenders}, []
    for run in sorted(set(runs), key=lambda run: (suite.names.index(run.model), run.budget, run.name)):
        if run.name in counts and (summary := store.read_training(run)) is not None:
            environment = summary.get("environment")
            number = environments.number(environment) if environment else 0
            training = Training(run.name, labels[run.model], summary, run.budget_text, number, counts[run.name])
            trainings.append(training)
    return Made(
        environments,
        inputs,
        of_records,
        Counter(number for number, _ in of_records.values()),
        {one.name: one for one in trainings},
    )
