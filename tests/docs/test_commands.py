"""Every command of README and docs, taken from the pages as they stand.

Each shell block runs in a shell where all programs are stubs that record their calls. Calls of `make` go through the
Makefile, and calls of the kit through the parser of the command line; recipes and their overrides are loaded.
"""

import re
from pathlib import Path

import pytest
import typer
from make_calls import BLOCK, blocks, called, kit_calls, ready_folder
from typer.core import TyperGroup

from kit import cli, recipes
from reproduce import __main__ as reproduced

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
KIT, REPRODUCE = (typer.main.get_command(app) for app in (cli.app, reproduced.app))
VERBS = KIT.commands | REPRODUCE.commands
INLINE = re.compile(
    r"`((?:[A-Z_]+=\S+ )*(?:make|(?:\.venv/bin/)?(?:python|torchrun)(?: -\S+(?: \d+)?)* kit|kit) [a-z][^`]*)`"
)
PLACE = re.compile(r"…|\bVERB\b|\bNAME\b|\bFILE\b|\bFOLDER\b|\bIMAGE\b|\bOWNER\b|\bDATA\b(?!=)|\bRUN\b|\bMADE\b")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder where the environment looks ready, so that make only calls the kit."""
    folder = tmp_path_factory.mktemp("docs")
    ready_folder(folder / "made")
    return folder


def parse(arguments):
    """Parses arguments like the command line, without running the verb."""
    command = REPRODUCE if arguments[0] in REPRODUCE.commands else KIT
    context = command.make_context("kit", list(arguments))
    while isinstance(command, TyperGroup):
        name, command, arguments = command.resolve_command(context, [*context._protected_args, *context.args])
        context = command.make_context(name, arguments, parent=context)
    given = context.params
    recipe = given.get("recipe") or "demo"
    if not recipe.endswith(".yaml"):
        recipes.load(recipe, given.get("overrides") or [])
    return context


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_is_one(page, place):
    text = BLOCK.sub("", page.read_text())
    written = [re.sub(r"\s*\n\s*", " ", command) for command in INLINE.findall(text)]
    mentioned = [command for command in written if not PLACE.search(command)]
    for script in blocks(page, "bash") + mentioned:
        for command in called(script, place):
            for arguments in kit_calls(command, place):
                # A verb that is only named in a sentence lacks what it needs.
                if script in mentioned and len(arguments) == 1:
                    assert arguments[0] in VERBS
                else:
                    parse(arguments)


def test_the_commands_are_found(place):
    """A change of the pages' format must not empty the test above."""
    found = [command for page in PAGES for script in blocks(page, "bash") for command in called(script, place)]
    verbs = {arguments[0] for command in found for arguments in kit_calls(command, place)}
    assert len(found) > 60
    assert verbs >= {"folds", "train", "submit", "predict", "report", "compare", "view", "kernel", "check", "import"}


@pytest.mark.parametrize(
    "script",
    ["make trian", "make train FODL=1", "kit train --recipie exp5", "kit folds --set seed=x"]
    + [f"X=1 .venv/bin/{program} -m kit train --recipie exp5" for program in ("python", "torchrun")],
)
def test_a_wrong_command_is_noticed(script, place):
    with pytest.raises(Exception, match=r"trian|FODL|recipie|seed"):
        [parse(arguments) for command in called(script, place) for arguments in kit_calls(command, place)]


def test_own_data_from_nothing_to_a_score(place, kit):
    """Runs the page's blocks in order, except for the kernel's."""
    page = ROOT / "docs/how-to/own-data.md"
    written = re.findall(r"as `([\w.]+\.yaml)`:\n\n```yaml\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    for name, content in written:
        Path(name).write_text(content)
    assert written
    told = ""
    for match in BLOCK.finditer(page.read_text()):
        if match["kind"] == "python":
            exec(match["content"], {})
        if match["kind"] != "bash":
            continue
        for command in called(match["content"], place):
            for arguments in kit_calls(command, place):
                if arguments[0] == "kernel":
                    continue
                code, out, errors = kit(*arguments)
                told += out
                assert code == 0, f"{arguments}: {errors}"
    assert "0 errors, 0 notes; next: kit import cells --out data/cells" in told
    score = float(re.search(r"public \S+ · private (\S+)", told)[1])
    assert score > 0.8
    assert len(list(Path("predictions").glob("*/test/overlay/*"))) == 20
