"""Print the JSON schema of a configuration file: `python -m bifrost.settings --schema`."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser

from bifrost.settings.schema import schema


def main() -> None:
    """Print the schema. Without `--schema`, print how the command is used and exit."""
    parser = ArgumentParser(prog="python -m bifrost.settings", description=__doc__)
    parser.add_argument("--schema", action="store_true", required=True, help="print the JSON schema of the file")
    parser.parse_args()
    sys.stdout.write(json.dumps(schema(), indent=2) + "\n")


if __name__ == "__main__":
    main()
