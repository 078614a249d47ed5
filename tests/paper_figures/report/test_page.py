"""The page: verdicts first, every measured number linked to its records, nothing outside of it needed."""

import json
import re
import shutil
from itertools import pairwise

import numpy as np
import pytest
from made_up import diverge, flat, rewrite
from pages import Page, draw

from bench.spec.datasets import OwnImages
from bench.store.own_images import write_own
from paper_figures.beyond import larger_budgets
from paper_figures.claims import ledger
from paper_figures.figures import fig4_smoothing
from paper_figures.tables import table2_datasets


def test_verdicts_come_first_then_the_frontier_then_tables_and_figures(page):
    assert [one.text.strip() for one in page.all("h2")] == [
        "Verdicts", "Frontier", "Tables of the paper", "Not measured",
        "What a reader should not conclude", "Environment", "Records",
    ]  # fmt: skip


def test_headings_descend_by_one(page):
    levels = [int(one.tag[1]) for one in page.elements if re.fullmatch("h[1-6]", one.tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_nothing_outside_of_the_page_is_needed_and_every_link_leads_somewhere(page):
    ids = [one.attrs["id"] for one in page.elements if "id" in one.attrs]
    assert len(ids) == len(set(ids))
    links = [one.attrs["href"] for one in page.all("a")]
    assert len(links) > 300
    assert {link for link in links if not link.startswith("#") or link[1:] not in ids} == set()
    assert not {"link", "iframe", "object"} & {one.tag for one in page.elements}
    assert all("src" not in one.attrs for one in page.all("script"))
    assert all(one.attrs["src"].startswith("data:image/png;base64,") for one in page.all("img"))
    assert re.search(r"url\(|@import|https?:", page.text) is None


def test_pictures_have_words_and_tables_have_headings(page):
    pictures = page.all("img")
    assert len(pictures) == 1
    assert all(len(one.attrs["alt"]) > 20 for one in pictures)
    captions = [one.text for one in page.all("figcaption")]
    assert any("750 samples a replicate, replicates 0, 1, 2" in text for text in captions)
    assert all("scope" in one.attrs for one in page.all("th"))
    assert page.all("html")[0].attrs["lang"] == "en"


def test_every_claim_has_verdict_numbers_rule_and_records(page):
    section = page.by_id("verdicts")
    assert "2 ✓ confirmed 1 ✗ contradicted" in " ".join(section.text.split())
    (row,) = (one for one in page.all("tr", inside=section) if "FPDM is better at 140 block passes" in one.text)
    text = " ".join(row.text.split())
    assert "✓ confirmed" in text  # a sign and a word
    assert "85.8/148.0 DDPM" in text
    assert re.search(r"DDPM: FPDM/DiT 0\.\d+ \(0\.\d+ to 0\.\d+, p = 0\.25\)", text)
    assert "Rule: The best FPDM below DiT at 140 passes, with DDPM and with DDIM." in text
    (records,) = (one for one in page.all("a", inside=row) if "records of" in one.text)
    listed = page.by_id(records.attrs["href"][1:])
    assert "(66 records)" in listed.text  # 13 schedules with DDPM, 7 with DDIM, DiT with both; three replicates
    assert page.all("a", inside=row, href="#table1-compute")
    untested = next(one for one in page.all("li", inside=section) if "as shallow as FPDM" in one.text)
    assert "no record of DiT-3" in untested.text


def measured(page, href):
    """The FDs of the records behind an address."""
    place = page.by_id(href[1:])
    if place.tag == "li":
        hrefs = [one.attrs["href"] for one in page.all("a", inside=place)]
        return [fd for one in hrefs if not one.startswith("#training-") for fd in measured(page, one)]
    rows = [place] if place.tag == "tr" else page.all("tr", inside=place)[1:]
    return [float(page.all("td", inside=row)[1].text) for row in rows]


@pytest.mark.parametrize(("table", "column"), [("smoothing", "FD"), ("table1", "FD (DDIM)"), ("table1", "FD (DDPM)")])
def test_a_number_links_to_the_records_that_it_is_the_mean_of(page, table, column):
    shown = page.by_id(f"table-{table}")
    headings = [one.text for one in page.all("th", inside=shown, scope="col")]
    seen = 0
    for row in page.all("tr", inside=shown)[1:]:
        cells = [one for one in page.elements if one.parent is row]
        (link,) = page.all("a", inside=cells[headings.index(column)])
        fds = measured(page, link.attrs["href"])
        value = float(link.text.split("±")[0])
        if table == "smoothing" or cells[1].text == "DiT":
            assert len(fds) == 3
            assert np.mean(fds) == pytest.approx(value, abs=6e-4)
        else:  # the best of seven schedules
            assert len(fds) == 21
            assert min(fds) <= value <= max(fds)
        seen += 1
    assert seen == {"smoothing": 42, "table1": 6}[table]


def test_no_published_number_links_to_a_record_and_no_measured_one_lacks_it(page):
    for name in ("table1", "smoothing_best", "table1_footprint"):
        shown = page.by_id(f"table-{name}")
        headings = [one.text for one in page.all("th", inside=shown, scope="col")]
        for row in page.all("tr", inside=shown)[1:]:
            cells = [one for one in page.elements if one.parent is row]
            for heading, cell in zip(headings, cells, strict=True):
                given = heading in ("block passes", "size", "training step", "model") or "published" in heading
                is_number = bool(re.match(r"\d", cell.text)) and not given
                assert bool(page.all("a", inside=cell)) == is_number, (name, heading, cell.text)


def test_a_record_has_its_fields_its_environment_and_its_training(page, results):
    records = [json.loads(path.read_text()) for path in (results / "digits" / "records").iterdir()]
    record = next(one for one in records if one["cell"]["measure"] == "quality")
    row = page.by_id(f"record-{record['key']}")
    texts = [one.text for one in page.all("td", inside=row)]
    assert f"{record['metrics']['fid']:.5g}" in texts
    assert {"done", str(record["cell"]["seed"])} <= {*texts}
    links = [one.attrs["href"] for one in page.all("a", inside=row)]
    assert links == ["#environment-1", "#inputs-1", f"#training-{record['cell']['train_run']}"]
    training = page.by_id(links[-1][1:])
    assert record["inputs"]["checkpoint"] in training.text
    assert "abacus" in page.by_id("environment").text
    assert len([one for one in page.elements if one.attrs.get("id", "").startswith("record-")]) == len(records)


def test_each_part_says_how_it_is_made_again(page):
    part = page.by_id("fig4-smoothing").parent
    assert "python bench/run_grid.py --grid smoothing --results RESULTS" in part.text
    assert "python paper_figures/make_all.py --grid smoothing --results RESULTS" in part.text
    assert "python bench/run_grid.py --grid all --results RESULTS --only KEY --retrain" in page.by_id("records").text
    assert "python bench/run_grid.py --grid controls --results RESULTS" in page.by_id("not-measured").text


def test_what_not_to_conclude_is_of_the_records(page):
    limits = page.by_id("limits").text
    assert "There are 3 replicates" in limits
    assert "DiT made 9 training steps in 9 s and FPDM made 9 training steps in 9 s" in limits
    assert "1,417 images of 8x8 pixels" in limits
    assert "digits-cnn features" in limits
    assert re.search(r"FPDM makes \d+% more multiplications", limits)
    assert "one machine, abacus" in limits
    assert re.search(r"Without any result of their own: .*controls", limits)


def test_the_same_records_give_the_same_bytes_wherever_they_lie(tmp_path, write_records, unsaved_figures):
    write_records(tmp_path / "here", "beyond", seeds=(0,))
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    pages = []
    for folder in (tmp_path / "here", tmp_path / "there"):
        draw(folder, (larger_budgets,))
        pages.append((folder / "digits" / "report.html").read_text())
    assert pages[0] == pages[1]
    assert str(tmp_path) not in pages[0]


def test_few_records_of_one_replicate_without_a_figure_are_a_page_too(tmp_path, write_records, unsaved_figures):
    evidence = write_records(
        tmp_path, "smoothing", seeds=(0,), fid=flat, skip=lambda cell: cell.run and cell.model == "dit"
    )
    diverge(evidence, lambda cell: cell.measure == "quality" and cell.iterations == 68)
    rewrite(evidence, lambda cell: cell.measure == "quality" and cell.iterations == 54, inputs={"checkpoint": "older"})
    draw(tmp_path, (fig4_smoothing,), "--seeds", "0", "--out", str(tmp_path / "out"))
    page = Page((tmp_path / "out" / "digits" / "parts" / "seeds-0" / "report.html").read_text())
    assert "No claim is judged here" in page.by_id("verdicts").text
    limits = page.by_id("limits").text
    assert "There is one replicate" in limits
    assert "3 diverged" in limits
    assert "3 records are of weights that were trained anew since" in limits
    (lost, *_) = (one for one in page.all("tr") if "diverged: nan" in one.text)
    assert page.all("td", inside=lost)[1].text == "∞"
    assert "smoothing" in limits
    assert page.all("img") == []


def test_a_single_grid_draws_no_page(tmp_path, write_records, unsaved_figures):
    write_records(tmp_path, "beyond", seeds=(0,))
    draw(tmp_path, (larger_budgets,), "--grid", "beyond")
    assert not list(tmp_path.rglob("report.html"))


def test_numbers_of_another_suite_link_to_no_record_here(tmp_path, write_records):
    for suite, seeds in (("digits", (0, 1)), ("fashion-cpu", (0,))):
        write_records(tmp_path, "datasets", suite=suite, seeds=seeds)
    draw(tmp_path, (table2_datasets,))
    page = Page((tmp_path / "digits" / "report.html").read_text())
    rows = {
        one.text.strip(): bool(page.all("a", inside=one)) for one in page.all("tr", inside=page.by_id("table-table2"))
    }
    assert {
        text.split("\n")[0][:6]: links for text, links in rows.items() if text.startswith(("digits", "Fashio"))
    } == {
        "digits": True,
        "Fashio": False,
    }


def test_no_number_of_the_paper_stands_beside_own_images(tmp_path, write_records, unsaved_figures):
    own = OwnImages(500, 32, 3, ("a", "b"), "ab" * 32, "pixels", "pca", "cpu")
    write_own(tmp_path, own)
    write_records(tmp_path, "smoothing", suite="folder", seeds=(0,), reference=own.digest)
    draw(tmp_path, (fig4_smoothing, ledger), "--suite", "folder")
    text = (tmp_path / "folder" / "report.html").read_text()
    assert "the paper claims nothing about your own images" in text
    assert "ublished" not in text.replace("unpublished", "")
    assert "The paper trains" not in text
