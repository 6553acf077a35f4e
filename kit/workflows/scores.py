"""The verb `scores`."""

import logging

from kit.core.errors import KitError
from kit.submissions import ledger
from kit.workflows.workspace import Workspace

log = logging.getLogger(__name__)


def scores(workspace: Workspace) -> str:
    """Asks Kaggle for the latest scores and returns the ledger as a table."""
    if any((entry.destination or "").startswith("kaggle/") for entry in ledger.entries(workspace.ledger)):
        from kit.kaggle import settings
        from kit.kaggle.client import connect
        from kit.submissions import kaggle

        try:
            kaggle.refresh(workspace.ledger, lambda: connect(settings.load().timeout))
        except KitError as error:
            log.warning("%s; the table shows what was known before", error)
    return ledger.table(workspace.ledger)
