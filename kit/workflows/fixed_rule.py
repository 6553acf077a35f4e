"""What the thresholds that a recipe gives itself are worth on a run's OOF maps."""

import numpy as np

from kit.competition import scoring
from kit.core.files import sha256, write_json
from kit.inference import rules
from kit.inference.masks import stored_masks
from kit.thresholds import cross_validation
from kit.workflows.workspace import OpenRun

FIXED = "fixed"
"""What a recipe calls them."""


def measure(opened: OpenRun) -> None:
    """Writes what the recipe's own thresholds are worth out of fold, with and without TTA.

    Nothing is chosen on the images, so that the nested Dice is the Dice.
    """
    run, recipe, competition = opened.run, opened.recipe, opened.competition
    rule = rules.fixed(recipe.threshold, recipe.is_gated)
    patient = dict(zip(opened.split.table.image_id, opened.split.table.patient_id, strict=True))
    for tta in (True, False):
        dice: dict[str, float] = {}
        masked = []
        files = [run.oof(fold, tta) for fold in opened.split.numbers]
        for fold, file in zip(opened.split.numbers, files, strict=True):
            for image_id, mask in stored_masks(rule, file, run.oof(fold, tta, "classify"), competition.shape):
                dice[image_id] = scoring.dice(mask, competition.truth(image_id))
                masked.append(bool(mask.any()))
        values = np.array(list(dice.values()))
        positive = np.array([bool(competition.labels[image_id]) for image_id in dice])
        weights = cross_validation.prevalence_weights(positive, recipe.prevalence)
        mean = min(1.0, float(np.average(values, weights=weights)))  # sums of weights are rounded
        content = {
            **rules.parameters(rule),
            "dice": mean,
            "interval": cross_validation.interval(values, weights, [patient[image_id] for image_id in dice]),
            "nested_dice": mean,
            "dice_positives": float(values[positive].mean()) if positive.any() else None,
            "negatives_empty": float(values[~positive].mean()) if not positive.all() else None,
            "masked": min(1.0, float(np.average(masked, weights=weights))),
            "plateau": {},
            "prevalence": recipe.prevalence,
            "recipe": recipe.name,
            "hashes": {file.name: sha256(file) for file in files} | {"labels": sha256(competition.labels_path)},
        }
        write_json(run.rule(FIXED, tta) / "thresholds.json", content)
