"""The threshold search as tests call it: what was found for each rule, with the images' ids for their patients."""

from kit.thresholds.search import RULES, ThresholdSearch


def searched(maps, masks, patients, folds=None, rules=("image",), image_probability=None, **options):
    """The search, fitted."""
    return ThresholdSearch(rules, folds=folds, patients=patients, **options).fit(maps, masks, image_probability)


def choose(maps, masks, patients, folds=None, rules=("image",), image_probability=None, **options):
    """What it has found, by the rule's name."""
    return searched(maps, masks, patients, folds, rules, image_probability, **options).results_


KINDS = RULES
