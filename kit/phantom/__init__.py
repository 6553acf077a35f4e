"""The built-in demo competition: drawn phantoms of chest X-rays."""

from kit.phantom.competition import is_drawn, write

__all__ = ["is_drawn", "write"]
