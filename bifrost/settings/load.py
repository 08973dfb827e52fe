"""Loads a configuration file and reports all its problems."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from bifrost.misplaced_keys import hides_keys
from bifrost.settings.document import parse
from bifrost.settings.environment import Environment
from bifrost.settings.original.form import is_original
from bifrost.settings.original.read import read_original
from bifrost.settings.ours import read_ours
from bifrost.settings.reading import Reading

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from bifrost.settings.result import Settings

_SUFFIXES = (".toml", ".json")


@hides_keys
def load(path: str | os.PathLike[str], *, environ: Mapping[str, str] | None = None) -> Settings:
    """Load a configuration file in TOML or JSON, in bifrost's format or that of the Go gateway's `config.json`.

        settings = load("bifrost.toml")
        client = Bifrost(**settings.arguments())

    Args:
        path: The file. Its name must end in `.toml` or `.json`.
        environ: The variables for `env.NAME` values. `None`: `os.environ`.

    Raises `ConfigError` for a file that cannot be read or is invalid. The message lists all problems with the paths of
    their fields (`providers.openai.keys[0].weight`). It is a `MissingKeyError`, `InvalidKeyError` or
    `UnknownProviderError` if all problems are of that kind; `errors` has the individual ones. No value of the file is
    shown.
    """
    reading = Reading(environment=Environment(environ))
    # The text of the file is released before an error is raised, because tracebacks may show local variables.
    del environ
    settings = _read(Path(path), reading)
    if settings is None:
        raise reading.problems.failure(str(path))
    return settings


def _read(path: Path, reading: Reading) -> Settings | None:
    if path.suffix.lower() not in _SUFFIXES:
        reading.problems.add("", f"a configuration file's name ends in {' or '.join(_SUFFIXES)}")
        return None
    try:
        data = path.read_bytes()
    except OSError as error:
        reading.problems.add("", f"the file cannot be read: {error.strerror or type(error).__name__}")
        return None
    document, complaint = parse(data, path.suffix.lower())
    if complaint:
        reading.problems.add("", complaint)
        return None
    if not isinstance(document, dict):
        reading.problems.add("", "a configuration is a table of settings; write { ... } around them")
        return None
    table = cast("dict[str, Any]", document)
    return read_original(table, reading) if is_original(table) else read_ours(table, reading)
