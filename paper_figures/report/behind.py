"""Addresses of the records behind a number: a record, a group of them, or a list that the page has at its end."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from paper_figures.report.records import Entry, Group


@dataclass(frozen=True)
class Link:
    """A link inside the page."""

    text: str
    href: str


@dataclass(frozen=True)
class Listed:
    """Records that are no whole group, listed under an address of their own.

    Attributes:
        anchor: its name in the page's addresses.
        about: what they are.
        count: how many records.
        links: to groups, and to single records of groups of which it has a part; by what the groups share.
        trainings: the trainings of their weights.
    """

    anchor: str
    about: str
    count: int
    links: Mapping[str, Sequence[Link]]
    trainings: tuple[str, ...]


class Behind:
    """Gives addresses to records behind numbers; the lists that this needs are in `lists`, in order of first use."""

    def __init__(self, entries: Mapping[str, Entry], groups: Sequence[Group]) -> None:
        self._entries = entries
        self._groups = {entry.key: group for group in groups for entry in group.entries}
        self._places = {entry.key: place for place, entry in enumerate(e for group in groups for e in group.entries)}
        self._known: dict[tuple[str, ...], Listed] = {}

    @property
    def lists(self) -> list[Listed]:
        """The lists that numbers link to."""
        return [*self._known.values()]

    def href(self, keys: Iterable[str], about: str) -> str:
        """The address of records; empty for none. `about` says what they are, where they need a list."""
        found = tuple(sorted({key for key in keys if key in self._places}, key=self._places.__getitem__))
        if not found:
            return ""
        if len(found) == 1:
            return f"#{self._entries[found[0]].anchor}"
        group = self._groups[found[0]]
        if found == tuple(entry.key for entry in group.entries):
            return f"#{group.anchor}"
        if found not in self._known:
            self._known[found] = self._listed(found, f"list-{len(self._known) + 1}", about)
        return f"#{self._known[found].anchor}"

    def count(self, keys: Iterable[str]) -> str:
        """How many records there are of these keys, and of how many different cells."""
        found = {key for key in keys if key in self._places}
        cells = {self._groups[key].anchor for key in found}
        if len(cells) == len(found):
            return f"{len(found):,} record{'s' * (len(found) != 1)}"
        return f"{len(found):,} records of {len(cells):,} cell{'s' * (len(cells) != 1)}"

    def _listed(self, keys: tuple[str, ...], anchor: str, about: str) -> Listed:
        wanted = set(keys)
        links: dict[str, list[Link]] = defaultdict(list)
        for group in dict.fromkeys(self._groups[key] for key in keys):
            if wanted.issuperset(entry.key for entry in group.entries):
                links[group.place].append(Link(group.name, f"#{group.anchor}"))
            else:
                own = (entry for entry in group.entries if entry.key in wanted)
                links[group.place] += [Link(f"{group.name}, replicate {one.seeds}", f"#{one.anchor}") for one in own]
        runs = dict.fromkeys(str(self._entries[key].row["train_run"] or "") for key in keys)
        return Listed(anchor, about, len(keys), dict(links), tuple(name for name in runs if name))
