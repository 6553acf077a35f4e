"""The verb `download`."""

from pathlib import Path

from kit.kaggle.settings import Settings


def download(settings: Settings, dataset: str | None = None, out: Path | str | None = None) -> tuple[Path, bool]:
    """Fetches the files of the competition, or of a data set `OWNER/SLUG`.

    Returns:
        The folder, and whether anything was fetched.
    """
    from kit.kaggle import download
    from kit.kaggle.client import connect

    name = settings.named_competition() if dataset is None else dataset
    folder = Path(out) if out else Path("data") / name.rpartition("/")[2]
    client = connect(settings.timeout)
    if dataset is None:
        return folder, download.download_competition(client, name, folder)
    return folder, download.download_dataset(client, dataset, folder)
