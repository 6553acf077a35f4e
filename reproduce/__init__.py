"""The paper's tables, figures and claims from finished runs, and the trainings that they need; not in the package."""
