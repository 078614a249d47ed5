"""Evidence of a table or figure: the rows of a grid, and sentences on how they were made."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from bench.spec.cells import Cell
from bench.spec.extractors import get_extractor
from bench.spec.grids.catalogue import get_cells
from bench.spec.metrics import SECOND_METRICS
from bench.system.errors import BadInputError
from models.families import family_of
from paper_figures.evidence.noise import in_words, spreads
from paper_figures.evidence.rows import PEAKS, Rows

SHARES_NOTE = (
    "Precision: share of samples near a real image; recall: share of real images near a sample (Kynkäänniemi et al. "
    "2019); higher is better."
)


@dataclass(frozen=True)
class Evidence(Rows):
    """The rows of a grid from which tables and figures are drawn, with their captions."""

    @cached_property
    def noise(self) -> str:
        """The spread of FD between trainings and between samples, as a part of a sentence; empty without records."""
        try:
            cells = get_cells(
                "panel", self.compared, replace(self.selection, account="blocks", budgets=None, models=None)
            )
        except BadInputError:
            return ""
        frame = replace(self, cells=cells).every_sample
        return in_words(spreads(frame), {one.name: one.label for one in self.compared.contenders})

    @property
    def caption(self) -> str:
        """The protocol in one line: suite, sample count, replicates, extractor, training budget; and the floor.

        Empty without quality.
        """
        return self.captioned(self.quality[0].run.budget_text) if self.quality else ""

    def captioned(self, training: str) -> str:
        """The caption with another training budget, for a grid that has several."""
        cell, seeds = self.quality[0], self.replicates
        protocol = cell.protocol
        guidance = "no guidance" if protocol.guidance_scale == 1 else f"guidance {protocol.guidance_scale:g}"
        several = f"replicates {', '.join(map(str, seeds))} (with 95% intervals)"
        replicates = several if len(seeds) > 1 else f"replicate {seeds[0]} (no interval)" if seeds else "none yet"
        fd, own = self.floor.get("fid"), self.compared.evaluation.dtype
        dtype = "" if protocol.dtype == own else f", sampled in {protocol.dtype}"
        real = f"; floor: FD {fd:.3g} of {self.floor_images:,} real images that nothing was trained on" if fd else ""
        return (
            f"{self.suite}: {protocol.samples:,} samples a replicate, {replicates}, {guidance}, "
            f"EMA weights{dtype}, {self.extractor} features, {training} of "
            f"training each{self._elsewhere}{self.account_note}{real}{'; ' * bool(self.noise)}{self.noise}"
        )

    @property
    def _elsewhere(self) -> str:
        """Which contenders were not trained for this time, as the end of a sentence."""
        names = dict.fromkeys(cell.model for cell in self.quality if cell.run.elsewhere)
        labels = [self.compared.contender(name).label for name in names]
        return f" ({', '.join(labels)}: trained elsewhere, for another time)" if labels else ""

    @property
    def account_note(self) -> str:
        """The meaning of a budget, as the end of a sentence; empty in the paper's account."""
        return f"; {definition}" if (definition := self.account.definition) else ""

    @property
    def choice(self) -> str:
        """How the best schedule of a contender that iterates is chosen, and among which; empty if none iterates."""
        cells = [cell for cell in self.quality if family_of(cell.config).iterates]
        if not cells:
            return ""
        names = dict.fromkeys(cell.model for cell in cells)
        chosen = " and ".join(f"{self.compared.contender(name).label}'s" for name in names) + " schedule is chosen"
        among = f"among {', '.join(map(str, sorted({cell.iterations for cell in cells})))} iterations"
        if len(self.replicates) > 1:
            return f"{chosen}, for each replicate, on the others, {among}."
        return f"{chosen} {among} {self.flattered}."

    @property
    def flattered(self) -> str:
        """The end of a sentence on a schedule that was chosen with one replicate."""
        label = self.compared.subject.label
        return f"on the very samples that score it, for want of a second replicate, which flatters {label}"

    @property
    def extractor(self) -> str:
        """The feature extractor's name, for axis labels; a weak one is called weak."""
        return get_extractor(next(c for c in self.cells if isinstance(c, Cell)).protocol.extractor).label

    @property
    def timing_caption(self) -> str:
        """A sentence on the machine and load that the cells were timed under."""
        kinds = sorted(set(self.frame.timed_on.dropna()))
        return (
            f"Timed on {kinds[0]}, at different times: drift is in it."
            if len(kinds) == 1
            else "Timed on different machines, hence no times."
        )

    @property
    def shares_note(self) -> str:
        """Sentences that define precision and recall and give the floor's, and on a second extractor's distance.

        Empty where no record has them.
        """
        if not self.frame.precision.notna().any():
            return self.second_note
        shares = "{precision:.3f}, {recall:.3f}".format(**self.floor) if self.floor else ""
        real = f" Of the floor's {self.floor_images:,} images: {shares}." if shares else ""
        return f"{SHARES_NOTE}{real} {self.second_note}".rstrip()

    @property
    def second_note(self) -> str:
        """A sentence on the distance in a second extractor's features; empty where no record has it."""
        protocols = (record.cell.get("protocol", {}) for _, record in self.records("quality"))
        used = {(known["name"], known["network"]): None for one in protocols if (known := one.get("second"))}
        return " ".join(
            f"{SECOND_METRICS[name].label}: Fréchet distance of the same samples in {network} features; schedules are "
            "chosen by FD."
            for name, network in used
        )

    @property
    def peak_memory(self) -> str:
        """A sentence with the most memory that a cell took; empty where no record has it."""
        resident, device = (self.frame[name].astype(float).max() for name in PEAKS)
        if np.isnan(resident):
            return ""
        tensors = "" if np.isnan(device) else f", {device:.1f} GiB of tensors on its device"
        return f"Peak memory of a cell: {resident:.1f} GiB resident{tensors}."
