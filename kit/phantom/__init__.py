"""The built-in demo competition: phantom chest X-rays, drawn."""

from kit.phantom.competition import is_drawn, write

__all__ = ["is_drawn", "write"]
