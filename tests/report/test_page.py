"""The page and its files without a browser: their content, and that the scores are those of the run."""

import dataclasses
import re
import shutil
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kit.competition import rle
from kit.core.documents import read_document
from kit.core.errors import KitError
from kit.core.files import read_json, write_json
from kit.inference import maps, rules, thresholds_file
from kit.inference.masks import stored_masks
from kit.inference.thresholds_file import read_measured
from kit.report import (
    cases,
    comparison,
    detection,
    gallery,
    headline,
    leaderboard,
    learning,
    live,
    page,
    provenance,
    subgroups,
    surfaces,
)
from kit.report.document import Report
from kit.run import Run
from kit.workflows import view


def test_a_row_of_the_cases_counts_pixels(finished):
    """Compares every image with sets of pixels."""
    rule, table = thresholds_file.read(finished.run.thresholds).rule, finished.cases.table.set_index("image_id")
    shape, pixels = finished.competition.shape, np.prod(finished.competition.shape)
    seen = 0
    for fold in (0, 1):
        stack = maps.open_maps(finished.run.oof(fold))
        for image, levels in zip(stack.ids, stack, strict=True):
            found = set(np.flatnonzero(rule.mask(maps.upsample(levels, shape))))
            truth = set(np.flatnonzero(rle.union(finished.competition.labels[image], shape)))
            row = table.loc[image]
            assert row.dice == pytest.approx(2 * len(found & truth) / (len(found) + len(truth)) if found | truth else 1)
            assert (row.mask_area, row.truth_area) == (len(found) * 2**20 // pixels, len(truth) * 2**20 // pixels)
            wanted = "kept empty" if not found else "false positive"
            if truth:
                wanted = "missed" if not found else "found" if found & truth else "misplaced"
            assert row.outcome == wanted
            assert row.fold == fold
            seen += 1
    assert seen == len(table) == len(finished.competition.train)


def test_the_dice_of_the_cases_is_that_of_the_thresholds(finished):
    chosen = read_measured(finished.run.thresholds).content
    assert np.average(finished.cases.table.dice, weights=finished.cases.weights) == pytest.approx(
        chosen["apparent_dice"]
    )
    assert np.mean(~finished.cases.positive) == pytest.approx(chosen["dice_all_empty"])
    assert np.mean(~finished.cases.positive) == np.mean([not rows for rows in finished.competition.labels.values()])


def test_the_size_of_an_image_is_that_of_its_pixels_on_the_film(finished):
    side = 128 * round(0.143 * 1024 / 128, 3) / 10  # of a phantom
    assert finished.cases.table.image_cm2.tolist() == pytest.approx([side**2] * 40)


def test_cases_csv_has_a_row_per_image(finished):
    table = pd.read_csv(finished.page.parent / "report/cases.csv", dtype={"image_id": str})
    assert list(table.columns) == cases.COLUMNS
    assert table.image_id.tolist() == sorted(finished.competition.train)


def test_no_patient_id_is_in_a_report(finished):
    folder, patients = finished.page.parent, set(finished.split.table.patient_id)
    for path in (finished.page, *folder.glob("report/*.csv")):
        assert not [patient for patient in patients if patient in path.read_text()]
    same = finished.cases.table.merge(finished.split.table, on="image_id")
    assert len(same.groupby(["patient_id_x", "patient_id_y"])) == len(patients) == same.patient_id_x.nunique()


def test_report_json_holds_the_numbers_that_the_page_shows(finished):
    folder = finished.page.parent
    report = read_document(folder / "report.json", Report, "")
    assert report.schema_version == 1
    assert [case.image_id for case in report.cases] == finished.cases.table.image_id.tolist()
    assert [case.dice for case in report.cases] == finished.cases.table.dice.tolist()
    text = finished.page.read_text()
    for measure in report.measures:
        value = page.share(measure.value) if measure.kind == "share" else page.cell(measure.value)
        assert f"<dt>{measure.name}</dt><dd><strong>{value}</strong>" in text
    for row in (*report.searches, *report.parts, *report.learning[0].stages):
        for value in dict(row).values():
            assert not isinstance(value, float) or page.cell(value) in text
    assert {figure.name for figure in report.figures()} == {path.stem for path in folder.glob("report/*.svg")}
    assert not finished.cases.table.drop(columns="hd95").isna().any().any()


def test_every_figure_is_a_file_with_its_numbers_in_report_json(finished):
    drawn = {
        figure.name: figure for figure in read_document(finished.page.parent / "report.json", Report, "").figures()
    }
    assert {"dice-by-part", "roc", "reliability", "learning-dice", "leaderboard-local-tiny-private"} <= set(drawn)
    surfaces = {f"{rule}-surface" for rule in ("image", "component", "triplet")}
    assert surfaces | {"triplet-surface-top", "expected-decisions"} <= set(drawn)
    for name, figure in drawn.items():
        assert f'href="report/{name}.svg"' in finished.page.read_text()
        root = ET.parse(finished.page.parent / f"report/{name}.svg").getroot()
        assert root.tag.endswith("svg")
        assert figure.alt
        if "surface" not in name:  # whose numbers are in surface.npz
            assert len({len(column) for column in figure.data.values()}) == 1, name


@pytest.mark.parametrize("name", ["roc", "dice-against-area", "expected-decisions"])
def test_each_case_of_a_figure_has_its_point(finished, name):
    [figure] = [figure for figure in finished.report.figures() if figure.name == name]
    wanted = np.flatnonzero(finished.cases.positive) if name == "dice-against-area" else range(40)
    assert sorted(figure.rows) == list(wanted)
    points = ET.fromstring(figure.svg).findall(".//*[@id='cases']//{*}use")
    assert len(points) == len(figure.rows)
    across = {"roc": None, "dice-against-area": "truth_area", "expected-decisions": None}[name]
    if across:
        order = np.argsort([float(point.get("x")) for point in points], kind="stable")
        assert finished.cases.table[across][np.array(figure.rows)[order]].is_monotonic_increasing


class Outline(HTMLParser):
    """Collects ids, headings, landmarks, links and pictures without a name."""

    def __init__(self):
        super().__init__()
        self.ids, self.headings, self.tags, self.links, self.unnamed = [], [], [], [], []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append(tag)
        if "id" in attributes:
            self.ids.append(attributes["id"])
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag != "a":
            self.links += [attributes[name] for name in ("src", "href", "xlink:href") if name in attributes]
        if (tag == "svg" and not attributes.get("aria-label")) or (tag == "img" and not attributes.get("alt")):
            self.unnamed.append(attributes)


def test_the_page_is_one_file_with_headings_landmarks_and_names(finished):
    text = finished.page.read_text()
    outline = Outline()
    outline.feed(text)
    assert [link for link in outline.links if not link.startswith(("data:", "#"))] == []
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)
    assert len(outline.ids) == len(set(outline.ids))
    assert {"header", "nav", "main", "footer"} <= set(outline.tags)
    assert outline.headings[0] == 1
    assert max(np.diff(outline.headings)) <= 1
    assert outline.unnamed == []
    order = [re.search(f'<section id="{name}"', text).start() for name in SECTIONS]
    assert order == sorted(order)


def test_the_headline_explains_a_share_of_masks(finished, tmp_path):
    run = Run(shutil.copytree(finished.run.folder, tmp_path / "run"))
    searches = finished.report.searches
    assert "evidence" not in headline.reason(run, searches)
    write_json(run.thresholds, read_json(run.thresholds) | {"share": 0.125})
    told = headline.reason(run, searches)
    assert told.startswith(headline.reason(finished.run, searches)[:-1])
    assert "the 12.5% of the images with the most evidence get a mask" in told


def test_a_test_image_is_viewed_with_its_submitted_mask(finished, tmp_path):
    run, shape = Run(shutil.copytree(finished.run.folder, tmp_path / "run")), finished.competition.shape
    first, second = finished.competition.sample_ids[:2]
    assert not view.predicted(run, first, shape).any()
    assert view.predicted(run, second, shape).sum() == 9
    trained = finished.cases.table.image_id[0]
    rule = thresholds_file.read(run.thresholds).rule
    found = dict(stored_masks(rule, run.oof(finished.cases.table.fold[0]), None, shape, [trained]))
    assert (view.predicted(run, trained, shape) == found[trained]).all()
    assert view.predicted(run, "another", shape) is None


SECTIONS = ("headline", "cases", "thresholds", "failures", "learning", "leaderboard", "provenance")


def test_the_headline_compares_scores(finished):
    found = {measure.name: measure.value for measure in finished.report.measures}
    assert (found["Public"], found["Private"]) == (0.81, 0.7)
    assert found["Nested Dice"] == read_measured(finished.run.thresholds).content["nested_dice"]
    assert headline.test_share(finished.run) == 7 / 8


def test_text_from_outside_cannot_leave_its_place(finished, tmp_path):
    """Runs and images may have any name."""
    assert "<" not in page.embedded({"id": "</script><script>alert(1)</script>"})
    assert "&lt;b&gt;" in page.render("compare.html", runs=[{"run": "<b>"}] * 2, pairs=[], gallery={"other": None})


@pytest.mark.parametrize("name", ['"><script>alert(1)</script>', "$x_{$", r"\1 #?%", "ein Läuf"])
def test_a_run_of_any_name_can_be_compared(finished, tmp_path, name):
    """The name breaks no id of the page, no text of the figures and no file name."""
    pairs = comparison.pairs({"a": finished.cases.table, name: finished.cases.table})
    overview = pd.DataFrame([{"run": run, "dice": 0.5} for run in ("a", name)])
    gallery = {"other": {"name": name}}
    text = page.compare(pairs, overview, gallery, tmp_path / "page")
    outline = Outline()
    outline.feed(text)
    plain = page.render("compare.html", runs=[{"run": "a"}] * 2, pairs=[], gallery=gallery)
    assert outline.tags.count("script") == plain.count("<script")
    assert all(re.fullmatch(r"[\w.-]+", one, re.ASCII) for one in outline.ids)
    assert f"Dice by {name}" in ET.parse(next((tmp_path / "page").glob("*-images*.svg"))).getroot().itertext()


def test_hausdorff95_is_that_of_border_pixels(finished):
    """Compares with the distances of all pairs of border pixels."""
    from scipy.ndimage import binary_erosion
    from scipy.spatial.distance import cdist

    truth, mask = np.zeros((2, 40, 50), bool)
    truth[5:20, :30], mask[8:30, 6:33] = True, True
    one, other = (np.argwhere(each & ~binary_erosion(each)) for each in (truth, mask))
    apart = cdist(one, other)
    expected = np.percentile(np.concatenate([apart.min(axis=0), apart.min(axis=1)]), 95)
    assert cases.hausdorff95(mask, truth) == pytest.approx(expected, abs=1e-4)
    assert cases.hausdorff95(truth, truth) == 0
    assert cases.hausdorff95(mask & False, truth) is None
    table = finished.cases.table
    assert (table.hd95.notna() == ((table.truth_area > 0) & (table.mask_area > 0))).all()


def test_two_runs_stand_in_one_gallery(finished, another):
    other, found = another
    table, source = (rows[1:].reset_index(drop=True) for rows in (found.table, found.source))
    # Without the first image.
    part = dataclasses.replace(found, table=table, source=source, outlines=found.outlines[1:])
    packed = live.pack(finished.run, finished.cases, finished.competition, ("other", part))
    assert packed["other"]["dice"] == [None, *found.table.dice[1:]]
    assert "other" not in packed["images"][0]
    own, beside = thresholds_file.read(finished.run.thresholds).rule, thresholds_file.read(other.thresholds).rule
    for image in packed["images"][1:]:
        for name, rule, shown in (("mask", own, finished.cases), ("other", beside, found)):
            mask = rule.mask(maps.upsample(shown.levels(image["row"]), finished.competition.shape))
            assert image[name] == gallery.outlines(mask)
    assert live.pack(finished.run, finished.cases, finished.competition)["other"] is None


def test_a_run_without_thresholds_is_refused(finished, tmp_path):
    with pytest.raises(KitError, match="has no thresholds yet"):
        run = Run(tmp_path)
        run.recipe_path.write_text(finished.run.recipe_path.read_text())
        cases.measure(run, finished.competition, finished.split)


def test_confusion_counts_images(finished):
    found, outcome = detection.confusion(finished.cases), finished.cases.table.outcome
    assert found.missed == (outcome == "missed").sum()
    assert found.false_positives == (outcome == "false positive").sum()
    assert found.found + found.missed == finished.cases.positive.sum()
    assert found.sensitivity == pytest.approx(found.found / finished.cases.positive.sum())


def test_pixel_curves_are_those_of_all_pixels(finished):
    """Compares with scikit-learn on every pixel."""
    from sklearn.metrics import roc_auc_score

    levels, truth = [], []
    for row, image in enumerate(finished.cases.table.image_id):
        levels.append(maps.upsample(finished.cases.levels(row), finished.competition.shape).ravel())
        truth.append(rle.union(finished.competition.labels[image], finished.competition.shape).ravel())
    levels, truth = np.concatenate(levels), np.concatenate(truth)
    assert detection.area_under(detection.pixel_roc(finished.cases)) == pytest.approx(roc_auc_score(truth, levels))
    bins = detection.pixel_reliability(finished.cases)
    inside = (levels >= 0.1 * 255) & (levels < 0.2 * 255)
    assert bins["count"][1] == inside.sum()
    assert bins.observed[1] == pytest.approx(truth[inside].mean())
    assert bins["count"].sum() == levels.size


def test_image_reliability_has_equally_filled_bins(finished):
    bins = detection.image_reliability(finished.cases)
    assert bins["count"].sum() == 40
    assert bins["count"].nunique() == 1
    assert np.all(np.diff(bins.predicted) >= 0)
    assert np.average(bins.observed, weights=bins["count"]) == pytest.approx(finished.cases.positive.mean())


def test_each_group_partitions_the_images(finished):
    table = pd.DataFrame([part.model_dump() for part in subgroups.breakdown(finished.cases.table)])
    whole = table.iloc[0]
    for group in ("stratum", "sex", "view", "fold"):
        parts = table[table.group == group]
        assert parts.images.sum() == whole.images
        assert np.average(parts.dice, weights=parts.images) == pytest.approx(whole.dice)
    known = table.dropna(subset=["interval"])
    assert len(known) > 8
    assert all(low <= dice <= high for (low, high), dice in zip(known.interval, known.dice, strict=True))


def test_a_stage_starts_when_the_slowest_fold_has_finished_the_previous_one(finished):
    history = learning.history(finished.run)
    assert history.groupby("stage").minutes.agg(["min", "max"]).to_numpy() * 60 == pytest.approx(
        np.array([[1, 6], [7, 12]])
    )
    first, *_ = learning.stages(finished.run, finished.run.read_recipe())
    assert (first.epochs, first.seconds) == (3, 6)


def test_epochs_without_a_validation_do_not_interrupt_the_line(finished, tmp_path):
    run = Run(shutil.copytree(finished.run.folder, tmp_path / "run"))
    for path in run.folder.glob("fold*/stage1/metrics.csv"):
        table = pd.read_csv(path)
        table.loc[table.epoch == 1, ["validation_loss", "iou", "dice"]] = np.nan
        table[table.weights == "epoch"].to_csv(path, index=False)
    drawn = learning.curve(learning.history(run), "dice")
    paths = re.findall(r'<path d="M ([^"]+)" clip-path', drawn.svg)
    assert any(len(re.findall(r"L ", path)) == 1 for path in paths)  # from the second epoch to the third


def test_an_outlier_does_not_set_the_axis():
    values = pd.Series([1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 900.0])
    assert learning._robust_range(values)[1] < 2


def test_the_leaderboard_has_scored_submissions_only(finished):
    table = leaderboard.table(finished.entries, "tiny", "tiny/mine")  # not those of the same recipe on other data
    assert [(row.run, row.used) for row in table] == [("tiny/mine", True), ("tiny/other", False)]
    assert leaderboard.scatters(table[:1]) == []
    other = [row.model_copy(update={"destination": "kaggle/lungs", "used": False}) for row in table]
    drawn = leaderboard.scatters([*table, *other])  # a figure for each set of test images
    assert [len(figure.data["run"]) for figure in drawn] == [2, 2, 2, 2]
    assert leaderboard.of_run(finished.run, finished.entries).sha256 == "a"


def test_thresholds_of_the_recipe_are_not_listed_as_searched(finished, tmp_path):
    run = Run(shutil.copytree(finished.run.folder, tmp_path / "run"))
    own = read_json(run.rule("image") / "thresholds.json") | {"binarization": 0.75, "removal": 2048, "rules": []}
    write_json(run.rule("fixed") / "thresholds.json", own)
    write_json(run.thresholds, own)
    searches = surfaces.searches(run)
    assert not any(search.used for search in searches)
    assert {search.rule for search in searches} == set(rules.RULES)
    told = "The masks are those of the recipe's own thresholds (binarization 0.75, removal 2048)."
    assert headline.reason(run, searches) == told
    first, *others = live.rule_choices(run, finished.cases)
    assert (first["name"], first["level"], first["removal"]) == ("image", rules.level_of(0.75), 2048)
    assert {other["name"] for other in others} == {"triplet", "expected"}


def test_the_score_of_an_earlier_submission_is_marked(finished, tmp_path):
    run, entry = Run(shutil.copytree(finished.run.folder, tmp_path / "run")), finished.entries[0]
    run.submission.write_text(run.submission.read_text() + "another,-1\n")
    [note] = {one.note for one in headline.measures(run, finished.cases, entry) if one.name in ("Public", "Private")}
    assert note.endswith("of an earlier submission")


def test_the_licence_of_the_images_depends_on_their_source(finished):
    drawn = finished.competition
    siim, others = (
        dataclasses.replace(drawn, folder=Path("/elsewhere"), train={image: Path("a.dcm")})
        for image in (provenance.SIIM + "1.2", "patient7")
    )
    assert [provenance.source(data) for data in (drawn, siim, others)] == ["phantom", "siim", "other"]
    assert "phantoms" in finished.report.card.licence


def test_a_single_patient_has_no_interval(finished):
    table = finished.cases.table
    better = table.assign(dice=(table.dice + 0.1).clip(upper=1))
    [pair] = comparison.pairs({"a": table, "b": better})
    pair = pair._replace(table=pair.table.assign(sex=["F"] + ["M"] * (len(pair.table) - 1)))
    parts = comparison.by_group(pair).set_index(["group", "part"])
    assert parts.loc[("sex", "F")].low != parts.loc[("sex", "F")].low  # NaN
    assert parts.loc[("sex", "M")].low <= parts.loc[("sex", "M")]["mean"]


def test_the_rules_of_the_page_keep_their_gate(finished, tmp_path):
    run = Run(tmp_path / "run")
    shutil.copytree(finished.run.folder, run.folder)
    plain = live.rule_choices(run, finished.cases)
    for path in (run.thresholds, *run.folder.glob("thresholds/*/thresholds.json")):
        write_json(path, read_json(path) | {"smallest_contour": 100, "gate": 0.25})
    assert live.rule_choices(run, finished.cases) == [rule | {"gate": 0.25} for rule in plain]
