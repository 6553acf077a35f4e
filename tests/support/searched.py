"""The threshold search as tests call it, with image ids as patients."""

from kit.thresholds.search import RULES, ThresholdSearch


def searched(maps, masks, patients, folds=None, rules=("image",), image_probability=None, **options):
    """Returns a fitted search."""
    return ThresholdSearch(rules, folds=folds, patients=patients, **options).fit(maps, masks, image_probability)


def choose(maps, masks, patients, folds=None, rules=("image",), image_probability=None, **options):
    """Returns the result of each rule, by name."""
    return searched(maps, masks, patients, folds, rules, image_probability, **options).results_


KINDS = RULES
