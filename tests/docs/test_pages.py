"""The generated pages are those of today, the notebook runs, and the fifteen questions are answered where it says."""

import re
from pathlib import Path

import jupytext
import pytest
import reference

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("page", reference.CONTENT)
def test_the_reference_says_what_is_there(page):
    made = reference.CONTENT[page]()
    assert made == (ROOT / "docs" / page).read_text(), "run: python tests/support/reference.py"


def test_every_key_of_a_recipe_is_in_the_reference():
    from kit import recipes

    page = (ROOT / "docs/reference/recipe-keys.md").read_text()

    def keys(value, before=""):
        for name, inner in value.items():
            yield from keys(inner, f"{before}{name}.") if isinstance(inner, dict) else [f"{before}{name}"]

    wanted = set(keys(recipes.load("exp5").model_dump(exclude={"stages", "members"})))
    assert [key for key in wanted if f"| `{key}` |" not in page] == []


def test_the_notebook_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    for cell in jupytext.read(ROOT / "docs/notebooks/tour.md").cells:
        if cell.cell_type == "code":
            exec(cell.source, names)
    printed = capsys.readouterr().out
    assert "40 training images" in printed
    assert re.search(r"image [01]\.\d+", printed)
    assert (tmp_path / "tour/case.png").stat().st_size > 1000


def anchors(page):
    """What a link can lead to on a page."""
    heads = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\s-]", "", head.replace("`", "").lower()).strip().replace(" ", "-") for head in heads}


def test_each_of_the_fifteen_questions_is_answered_two_clicks_from_the_readme():
    assert "(docs/index.md#fifteen-questions)" in (ROOT / "README.md").read_text()
    index = ROOT / "docs/index.md"
    rows = re.findall(r"^\| (\d+)\. .*\| \[.*?\]\((.*?)\)", index.read_text(), re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, 16))
    for _, target in rows:
        page, _, anchor = target.partition("#")
        assert (index.parent / page).is_file(), target
        assert not anchor or anchor in anchors(index.parent / page), target


@pytest.mark.parametrize("page", ["README.md", *(str(p.relative_to(ROOT)) for p in (ROOT / "docs").rglob("*.md"))])
def test_no_link_within_the_project_is_dead(page):
    text = (ROOT / page).read_text()
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not target.startswith(("http", "#")):
            assert ((ROOT / page).parent / target.partition("#")[0]).exists(), target
