"""How Sphinx builds these pages: Markdown through MyST, the Furo theme."""

from __future__ import annotations

import re
import shutil
import sys
import textwrap
import tomllib
from pathlib import Path
from typing import Any

_DOCS = Path(__file__).parent
_PROJECT = tomllib.loads((_DOCS.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]

sys.path.insert(0, str(_DOCS.parent))
import bifrost  # noqa: E402 - the reference is made from the code beside these pages

project = "bifrost"
author = "The bifrost authors"
copyright = author
release = _PROJECT["version"]

extensions = ["myst_parser", "sphinx.ext.autodoc"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
nitpicky = True
nitpick_ignore_regex = [("py:.*", ".*")]  # an annotation may name what has no page
suppress_warnings = ["ref.python"]  # of `type`, say, which several classes have
exclude_patterns = ["_build"]

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88

html_theme = "furo"
html_title = f"bifrost {release}"
html_show_sourcelink = False
html_extra_path = ["llms.txt"]
html_static_path = ["_static"]
html_css_files = ["tables.css"]


_SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)")


def as_rst(text: str) -> str:
    """Give a docstring as Sphinx reads it: ours are Markdown, with code between fences or indented."""
    return "\n\n".join(_paragraph(part) for part in text.split("\n\n"))


def _paragraph(text: str) -> str:
    if text.startswith("    "):
        return f".. code-block:: python\n\n{text}"
    if text.startswith("```"):
        return ".. code-block:: python\n\n" + textwrap.indent(text.strip("`").partition("\n")[2], "    ")
    if text.startswith("Args:\n"):
        text = re.sub(r"^    (\S+): ", lambda argument: f":param {argument[1].lstrip('*')}: ", text[6:], flags=re.M)
    return _SPAN.sub(_span, text)


def _span(span: re.Match[str]) -> str:
    name = " ".join(span[1].split())
    marked = f":py:obj:`{name}`" if name in bifrost.__all__ else f"``{name}``"
    return f"{marked}\\ " if span.string[span.end() :][:1].isalnum() else marked


def _on_docstring(_app: Any, _what: str, _name: str, _of: Any, _options: Any, lines: list[str]) -> None:
    lines[:] = as_rst("\n".join(lines)).split("\n")


def _on_signature(_app: Any, what: str, _name: str, of: Any, _options: Any, signature: str | None, gives: Any) -> Any:
    if what == "exception" or getattr(of, "_is_protocol", False):
        return "", None  # They are not made by those who read this.
    if signature is None:
        return None
    for made_anew in ("NOTHING", "<factory>"):
        signature = signature.replace(made_anew, "...")
    return signature, gives


def _copy_sources(app: Any, failure: Exception | None) -> None:
    """Put each page's Markdown beside it: `llms.txt` leads there, and a model reads it more easily than HTML."""
    if failure is None and app.builder.name == "html":
        for name in app.env.found_docs:
            source = Path(app.env.doc2path(name))
            shutil.copy(source, (Path(app.outdir) / name).with_suffix(".md"))


def setup(app: Any) -> None:
    app.connect("autodoc-process-docstring", _on_docstring)
    app.connect("autodoc-process-signature", _on_signature)
    app.connect("build-finished", _copy_sources)
