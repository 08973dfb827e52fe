"""Reading a configuration file: its bytes, its form, what it says, and all that is wrong with it."""

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
    """Read a configuration file, TOML or JSON, in our form or in that of the Go gateway's `config.json`.

    Args:
        path: The file; its name ends in `.toml` or `.json`.
        environ: Where `env.NAME` values stand; `os.environ` if not given.

    Raises `ConfigError` for a file that cannot be read or says what cannot be; it tells every problem with the path of
    its field (`providers.openai.keys[0].weight`). It is `MissingKeyError`, `InvalidKeyError` or `UnknownProviderError`
    if all problems are of that kind; `errors` has each of several. No value of the file is shown.
    """
    reading = Reading(environment=Environment(environ))
    # What holds the file's text is gone when an error is raised: tracebacks may show the locals of their frames.
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
