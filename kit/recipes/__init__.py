"""Recipes: everything that a result depends on, except the data."""

from kit.recipes.loading import load, names, parse

__all__ = ["load", "names", "parse"]
