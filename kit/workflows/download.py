"""The flow of the verb `download`."""

from pathlib import Path

from kit.kaggle.settings import Settings


def download(chosen: Settings, dataset: str | None = None, out: Path | str | None = None) -> tuple[Path, bool]:
    """Fetches the competition's files, or those of a data set `OWNER/SLUG`.

    Returns:
        The folder, and whether there was anything to do.
    """
    from kit.kaggle import download
    from kit.kaggle.client import connect

    name = chosen.named_competition() if dataset is None else dataset
    folder = Path(out) if out else Path("data") / name.rpartition("/")[2]
    client = connect(chosen.timeout)
    if dataset is None:
        return folder, download.download_competition(client, name, folder)
    return folder, download.download_dataset(client, dataset, folder)
