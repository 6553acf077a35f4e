"""The built-in demo competition: phantom chest X-rays, drawn."""

from kit.phantom.competition import write

__all__ = ["write"]
