"""Recipes: everything a result depends on, but for the data."""

from kit.recipes.loading import load, names, parse

__all__ = ["load", "names", "parse"]
