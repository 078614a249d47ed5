"""Rules on controls: planted results that confirm, contradict and leave open each claim of our own."""

from dataclasses import replace

import pytest

from bench.spec.grids.catalogue import NoCellsError, get_cells
from bench.spec.measurements import BUDGETS
from bench.spec.selection import Selection
from bench.spec.suites import get_suite
from bench.store.records import Record, Store
from paper_figures.claims import control_rules
from paper_figures.claims.ledger import OWN_CLAIMS, judge, ledger, summary
from paper_figures.evidence.criteria import Verdict
from paper_figures.evidence.gather import Evidence

C, X, I, U = Verdict.CONFIRMED, Verdict.CONTRADICTED, Verdict.INCONCLUSIVE, Verdict.UNTESTED  # noqa: E741
NOISE = (0.997, 1.0, 1.003)  # what replicates differ by, not alike for all
SHALLOW, PARAMETERS, INJECTION, ITERATING, CACHED = OWN_CLAIMS
DIGITS = get_suite("digits")
JUDGED = ("dit", "fpdm", "dit-3", "looped", "dit-cached")
BEST = {"fpdm": (1, 5), "looped": (1, 2), "dit-cached": (4, 2)}  # blocks before, iterations or period
SHORT = "k = 1 at equal timesteps"


class Planted(Store):
    """A store whose records are made up when they are looked up; a quality of None is a missing record."""

    def __init__(self, root, fid):
        super().__init__(root, "digits")
        self.fid = fid

    def current(self, cell):
        fid = None if cell.run is None else self.fid(cell)
        if fid is None:
            return None
        metrics = {"fid": fid, "kid": 0.01, "kid_subset_std": 0.001}
        made_from = {"reference": "r", "extractor": "e"}
        return Record(cell.key, "done", "", cell.row(), made_from, metrics, cost={"comparable": True})


def levels(**level):
    """Each contender's FD at its best schedule, FPDM's 1; worse at its other schedules."""

    def fid(cell):
        if cell.run is not None and cell.model == "fpdm" and cell.budget not in BUDGETS:
            # as many timesteps as 5 iterations; a pairing with any other number would confirm or contradict
            wrong = 0.01 if level[SHORT] > 1 else 100.0
            value = level[SHORT] if cell.steps == 40 else wrong
        else:
            schedule = (cell.n_pre, cell.iterations)
            value = level.get(cell.model, 1.0) * (1.0 if BEST.get(cell.model, schedule) == schedule else 3.0)
        return value * NOISE[(cell.seed + len(cell.model) + (cell.iterations == 1)) % 3]

    return fid


PLANTS = {
    "as we expect": {"dit-3": 1.05, "looped": 2.0, "dit-cached": 0.5, SHORT: 2.0},
    "the opposite": {"dit-3": 0.5, "looped": 0.5, "dit-cached": 2.0, SHORT: 0.5},
    "far behind": {"dit-3": 1.3, SHORT: 1.0},
    "at the bound": {"dit-3": 1.1, SHORT: 1.0},
    "alike": {SHORT: 1.0},
}


def evidence_of(root, fid, suite=DIGITS, models=JUDGED, **selection):
    selected = Selection(models=models, **selection)
    cells = [*get_cells("controls", suite, selected), *get_cells("equal-timesteps", suite, selected)]
    cells = list({cell.key: cell for cell in cells}.values())  # some are in both grids
    return Evidence("digits", "controls", cells, Planted(root, fid), "command", selection=selected, sized=suite)


@pytest.mark.parametrize(
    ("plant", "verdicts"),
    [
        ("as we expect", (C, C, C, C, C)),
        ("the opposite", (C, X, X, X, X)),
        ("far behind", (X, C, I, I, I)),
        ("at the bound", (I, C, I, I, I)),
        ("alike", (C, I, I, I, I)),
    ],
)
def test_verdicts_on_planted_results(plant, verdicts, tmp_path):
    evidence = evidence_of(tmp_path, levels(**PLANTS[plant]))
    assert tuple(judge(claim, evidence).verdict for claim in OWN_CLAIMS) == verdicts


def test_numbers_are_of_each_sides_best_schedule(tmp_path):
    evidence = evidence_of(tmp_path, levels(**PLANTS["as we expect"]))
    measured = {claim: judge(claim, evidence).measured for claim in OWN_CLAIMS}
    assert measured[SHALLOW].startswith("DiT-3 / best FPDM, DDPM at 140: 1.05 (")
    assert measured[PARAMETERS].startswith("0.283M against 0.255M parameters; best FPDM / DiT-3, DDPM at 140: 0.95 (")
    assert measured[INJECTION].startswith("best FPDM / best Looped, DDPM at 140: 0.50 (")
    assert measured[CACHED].startswith("best DiT, cached / best FPDM, DDPM at 140: 0.50 (")
    assert measured[CACHED].count("at 560: 0.50 (") == 2
    assert measured[ITERATING].startswith("best FPDM / FPDM at k = 1, DDPM, k = 5, 5, 5: 0.50 (")
    assert "DDIM, k = 5, 5, 5: 0.50 (" in measured[ITERATING]


def test_one_budget_and_sampler_is_enough_to_contradict(tmp_path):
    planted = levels(**PLANTS["as we expect"])

    def once(cell):
        factor = 5.0 if (cell.model, cell.budget, cell.sampler) == ("fpdm", 560, "ddim") else 1.0
        return factor * planted(cell)

    found = [judge(claim, evidence_of(tmp_path, once)).verdict for claim in OWN_CLAIMS]
    assert found == [C, X, X, C, C]


@pytest.mark.parametrize(
    ("claim", "wanted", "what"),
    [
        (SHALLOW, {"model": "dit-3", "budget": 140}, "missing record of DiT-3 at 140, ddpm"),
        (PARAMETERS, {"model": "fpdm", "budget": 280, "iterations": 3}, "missing record of FPDM at 280, ddpm"),
        (INJECTION, {"model": "looped", "budget": 560, "iterations": 1}, "missing record of Looped at 560, ddpm"),
        (ITERATING, {"model": "fpdm", "steps": 40, "iterations": 1}, "FPDM with 1 iteration and as many timesteps"),
        (CACHED, {"model": "dit-cached", "n_pre": 1, "iterations": 4}, "missing record of DiT, cached at 140, ddpm"),
    ],
)
def test_one_missing_record_leaves_a_claim_untested(claim, wanted, what, tmp_path):
    planted = levels(**PLANTS["as we expect"])

    def holed(cell):
        lost = cell.seed == 1 and cell.sampler == "ddpm" and wanted.items() <= cell.row().items()
        return None if lost else planted(cell)

    found = judge(claim, evidence_of(tmp_path, holed))
    assert found.verdict is U
    assert what in found.measured


def test_without_records_of_controls_nothing_is_tested(tmp_path):
    evidence = evidence_of(tmp_path, lambda cell: 1.0 if cell.budget in BUDGETS and cell.model in JUDGED[:2] else None)
    measured = [judge(claim, evidence).measured for claim in OWN_CLAIMS]
    assert measured == [
        "no record of DiT-3 at 140, ddpm",
        "no record of DiT-3 at 140, ddpm",
        "no record of Looped at 140, ddpm",
        "no record of FPDM with 1 iteration and as many timesteps, ddpm",
        "no record of DiT, cached at 140, ddpm",
    ]
    own = ledger(evidence, summary(evidence)).split("## Claims of our own")[1]
    assert "0 confirmed, 0 equivalent, 0 contradicted, 0 inconclusive, 5 not tested." in own


def test_a_suite_without_the_controls_says_which_it_lacks(tmp_path):
    bare = replace(DIGITS, contenders=(DIGITS.baseline, DIGITS.subject))
    evidence = evidence_of(tmp_path, levels(**PLANTS["as we expect"]), bare, ("dit", "fpdm"))
    found = [judge(claim, evidence) for claim in OWN_CLAIMS]
    assert [one.verdict for one in found] == [U, U, U, C, U]
    assert [one.measured for one in found if one.verdict is U] == [
        "no DiT of 3 blocks in this suite",
        "no DiT with fewer blocks in this suite",
        "no loop of FPDM's blocks without injections in this suite",
        "no contender that samples with DiT's weights in this suite",
    ]


def test_controls_are_found_by_what_they_are():
    """Under other names, in another order, and for a subject with two blocks in its loop."""
    named = [replace(one, name=one.name if one.name in JUDGED[:2] else one.name[::-1]) for one in DIGITS.contenders]
    suite = replace(DIGITS, contenders=tuple(named[::-1]))
    finders = (
        control_rules.as_shallow, control_rules.of_equal_parameters, control_rules.without_injection,
        control_rules.cached,
    )  # fmt: skip
    assert [find(suite).label for find in finders] == ["DiT-3", "DiT-3", "Looped", "DiT, cached"]
    wider = replace(DIGITS, subject_name="fpdm-2")  # passes 4 blocks with one iteration
    assert control_rules.without_injection(wider).label == "Looped, 2 blocks"
    assert control_rules.of_equal_parameters(wider).label == "DiT-5"


def test_equal_timesteps_spend_less_than_their_pairs():
    """One iteration at the steps of each other number at 280 passes, counted as the passes that they are."""
    selection = Selection(models=("fpdm",), seeds=(0,))
    cells = [cell for cell in get_cells("equal-timesteps", DIGITS, selection) if cell.run is not None]
    short = [cell for cell in cells if cell.iterations == 1]
    assert sorted(cell.steps for cell in short) == [40, 40, 56, 56, 70, 70]
    assert not {cell.budget for cell in short} & {*BUDGETS}
    assert all(cell.iterations == 1 and cell.block_passes == cell.budget == 3 * cell.steps for cell in short)
    several = {cell.steps for cell in cells if cell.budget == 280 and cell.iterations > 1}
    assert len(cells) == 4 * len(several)
    assert several == {cell.steps for cell in short}


@pytest.mark.parametrize("other", [{"models": ("dit-3",)}, {"budgets": (140,)}, {"account": "macs"}])
def test_equal_timesteps_are_of_the_subject_at_280_in_block_passes(other):
    with pytest.raises(NoCellsError):
        get_cells("equal-timesteps", DIGITS, Selection(**{"models": ("fpdm",), "seeds": (0,)} | other))
