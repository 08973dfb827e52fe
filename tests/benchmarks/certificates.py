"""Make a certificate for the loopback, and the authority that signed it: `certificates.py FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

import trustme

folder = Path(sys.argv[1])
authority = trustme.CA()
server = authority.issue_cert("127.0.0.1", "localhost")
authority.cert_pem.write_to_path(str(folder / "authority.pem"))
server.private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))
