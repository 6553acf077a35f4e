"""The command line: each verb parses its options, calls one function and prints the result.

A module for each kind of verb registers its functions with `kit.cli.app.app`; `main` runs the verb that was called.
"""

from kit.cli import data, runs, reports, submissions, kernels  # noqa: I001  in the order of `kit --help`
from kit.cli.app import app
from kit.cli.process import main

__all__ = ["app", "data", "kernels", "main", "reports", "runs", "submissions"]
