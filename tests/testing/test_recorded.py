from __future__ import annotations

import json
import re
from pathlib import Path

import bifrost.testing
from tests.table import table

FOLDER = Path(bifrost.testing.__file__).parent / "recordings"
FILES = sorted(FOLDER.glob("*.json"))


def test_every_recording_stands_in_the_table_of_origins() -> None:
    rows = re.findall(r"^\| `([\w-]+\.json)` \|", (FOLDER / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert rows
    assert sorted(rows) == [file.name for file in FILES]


@table("file", FILES, ids=lambda file: file.stem)
def test_a_recording_says_where_it_is_from_and_holds_no_secret(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    recording = json.loads(text)
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    (row,) = [line for line in readme.splitlines() if line.startswith(f"| `{file.name}`")]
    project, _, path = recording["source_path"].partition(":")
    told = f"{project}: `{path}`, exchange {recording['source_index']} | {recording['source_commit'][:12]} |"
    assert told in row
    assert row.endswith(f"| {recording['source_licence']} |")
    assert (FOLDER / f"LICENSE-{recording['source_licence'].upper()}.txt").is_file()
    assert not re.search(r"sk-\w|authorization|x-api-key|organization|set-cookie", text, re.IGNORECASE)
