"""One measurement in a fresh process: `child.py TASK.json`, which says what to do, and where the result belongs."""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module
from pathlib import Path


def main() -> None:
    """Pin this process to its core, measure, write the result, and end without taking leave.

    Some peers crash or hang when the interpreter takes their threads down; that is not what is measured.
    """
    task = json.loads(Path(sys.argv[1]).read_text())
    if task["core"] is not None:
        os.sched_setaffinity(0, {task["core"]})
    result = import_module(f"measure_{task['part']}").run(**task["settings"])
    Path(task["result"]).write_text(json.dumps(result))
    os._exit(0)


if __name__ == "__main__":
    main()
