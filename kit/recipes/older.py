"""Stages as earlier versions spelled them: what is said today instead."""

from typing import Any

_SCHEDULE = ("final_learning_rate", "periods", "restarts", "last_learning_rates", "plateau", "watch")
_KEEP = ("swa_epochs", "best_checkpoints", "averaged", "batch_norm")
_MEASURES = {"validation_loss": "loss", "score": "dice"}


def replaced(stage: dict[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """The keys of a stage that are spelled otherwise today, and the keys and values that take their place.

    >>> replaced({"size": 64, "final_learning_rate": 1e-5, "swa_epochs": 5})
    (['final_learning_rate', 'swa_epochs'], {'schedule': {'cosine': {'to': 1e-05}}, 'keep': {'swa': {'last': 5}}})
    """
    keys = stage.keys() & {*_SCHEDULE, *_KEEP}
    if stage.get("passes_on") == "weights":
        keys.add("passes_on")
    if isinstance(stage.get("early_stopping"), int):
        keys.add("early_stopping")
    of = {"of": _MEASURES.get(str(stage["watch"]), "loss")} if "watch" in stage else {}
    found: dict[str, Any] = {}
    if keys & set(_SCHEDULE):
        found["schedule"] = _schedule(stage, of)
    if "early_stopping" in keys:
        found["early_stopping"] = {"patience": stage["early_stopping"]} | of
    if keys & set(_KEEP):
        found["keep"] = _keep(stage)
    return sorted(keys), found


def today(stage: dict[str, Any]) -> dict[str, Any]:
    """A stage of an earlier version in today's words; one of today is itself."""
    keys, found = replaced(stage)
    return {key: value for key, value in stage.items() if key not in keys} | found


def _schedule(stage: dict[str, Any], of: dict[str, Any]) -> Any:
    said = stage.get("schedule", "cosine")
    name, settings = next(iter(said.items())) if isinstance(said, dict) and said else (said, {})
    if not isinstance(settings, dict) or not isinstance(stage.get("plateau", {}), dict):
        return said
    names = {"to": "final_learning_rate"}
    if name == "cosine":
        names |= {"periods": "periods", "restarts": "restarts", "then": "last_learning_rates"}
    elif name == "plateau":
        settings = settings | stage.get("plateau", {}) | of
    else:
        return name
    settings = settings | {new: stage[old] for new, old in names.items() if old in stage}
    return {name: settings} if settings else name


def _keep(stage: dict[str, Any]) -> Any:
    statistics = {"batch_norm": stage["batch_norm"]} if "batch_norm" in stage else {}
    if swa := stage.get("swa_epochs"):
        return {"swa": {"epochs" if isinstance(swa, list) else "last": swa} | statistics}
    if best := stage.get("best_checkpoints"):
        average = {"average": stage["averaged"]} if "averaged" in stage else {}
        return {"best": {"epochs": best} | average | statistics}
    return "last"
