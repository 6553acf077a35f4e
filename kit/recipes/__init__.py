"""Recipes: everything a result depends on, but for the data."""

from kit.recipes.loading import load, names, parse, read

__all__ = ["load", "names", "parse", "read"]
