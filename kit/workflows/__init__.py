"""One file a verb: which step runs after which, from which artefact to which."""
