"""One self-contained HTML page of a run: what it is, how it learned, which rule was chosen, what it finds."""

import base64
import html
import io
from pathlib import Path

import cv2
from matplotlib.figure import Figure

from kit.competition.layout import Competition
from kit.core.files import read_json, write_text
from kit.report import gallery, summary, surfaces
from kit.run import Run

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2em auto; padding: 0 1em; color: #222 }
img { max-width: 100% } pre { background: #f4f4f4; padding: 1em; overflow-x: auto; font-size: 13px }
h2 { border-bottom: 1px solid #ddd; margin-top: 2em }
"""


def write(run: Run, competition: Competition) -> Path:
    """Writes report.html into the run's folder, pictures included, and returns its path.

    Args:
        run: Trained, with thresholds.
        competition: Its data.

    Raises:
        KitError: the run lacks a file that the page shows.
    """
    recipe = run.read_recipe()
    found = read_json(run.thresholds)
    searches = {folder.name: folder for folder in sorted((run.folder / "thresholds").iterdir())}
    parts = [
        f"<h1>{html.escape(recipe.name)} on {html.escape(competition.name)}</h1><p>{html.escape(recipe.about)}</p>",
        f"<p>OOF Dice <b>{found['dice']:.4f}</b> ({found['interval'][0]:.4f} to {found['interval'][1]:.4f}) with rule "
        f"<b>{html.escape(found['rule'])}</b>.</p>",
        "<h2>What it finds</h2><p>Truth in green, the out-of-fold mask in red.</p>",
    ]
    ids = gallery.pick(run, competition, recipe.tta)
    parts.append(_image(cv2.imencode(".png", gallery.sheet(run, competition, recipe.tta, ids))[1].tobytes()))
    parts += ["<h2>Training</h2>", _image(curves(run))]
    parts += ["<h2>Thresholds</h2>", f"<pre>{html.escape(surfaces.table(searches))}</pre>"]
    for name, folder in searches.items():
        picture = surfaces.draw(folder)
        if picture is not None:
            parts.append(f"<h3>{html.escape(name)}</h3>{_image(picture.read_bytes())}")
    parts += ["<h2>Recipe</h2>", f"<pre>{html.escape(recipe.dump())}</pre>"]
    target = run.folder / "report.html"
    title = html.escape(f"{competition.name}/{recipe.name}")
    head = f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><style>{STYLE}</style>"
    write_text(target, head + "\n".join(parts) + "</html>\n")
    return target


def curves(run: Run) -> bytes:
    """Losses and validation Dice of every stage, a line a fold, as PNG."""
    runs = [run, *(run.member(name) for name in run.read_recipe().members)]
    stages = [(part, fold, number) for part in runs for fold, number in part.trained()]
    figure = Figure(figsize=(11, max(3.5, 0.25 * len(stages))), layout="constrained")  # the legend has a line each
    axes = figure.subplots(1, 3)
    for part, fold, number in stages:
        table = summary.metrics(part, fold, number)
        table = table[table.weights == "epoch"]
        member = "" if part is run else f"{part.folder.name} "
        for axis, name in zip(axes, ("loss", "validation_loss", "dice"), strict=True):
            axis.plot(table.epoch, table[name], label=f"{member}fold {fold} stage {number + 1}", marker=".")
            axis.set(title=name.replace("_", " "), xlabel="epoch")
    axes[0].legend(fontsize=7)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def _image(png: bytes) -> str:
    return f'<img src="data:image/png;base64,{base64.b64encode(png).decode()}">'
