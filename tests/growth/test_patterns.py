# ruff: noqa: E501 - patterns stand here as the code writes them
"""Every regular expression of the package, with texts made to be its worst.

A pattern that reads foreign text must not have two open-ended parts that can match the same text. Texts are derived
from each pattern: every repeated part is repeated without end behind what leads to it, and then broken off. A new
pattern needs an entry here.
"""

from __future__ import annotations

import ast
import importlib
import re
import re._parser as parser  # type: ignore[import-not-found]
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.growth.measure import spent

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROOT = Path(__file__).parents[2]
_FUNCTIONS = {"compile", "match", "fullmatch", "search", "sub", "subn", "split", "findall", "finditer"}

SIZE = 4 * 1024
LIMIT = 0.015
"""What a text of this size may take, in seconds of CPU: some 4 us a character, where linear ones take 0.3."""

FOREIGN = "foreign"
"""Reads what a provider, a model, a file or a variable says: measured."""
MATCHED = "matched"
"""As `FOREIGN`, but matched at one place of a text and never searched for in it."""
BOUNDED = "bounded"
"""Reads foreign text of a few hundred characters at most; the code cuts it."""
OURS = "ours"
"""Reads names that the program's own author wrote, of bounded length."""
MADE = "made"
"""Made while the program runs; what it is made of is said beside it."""

PATTERNS: dict[str, str] = {
    "bifrost.misplaced_keys"
    " '(?<![A-Za-z0-9])(?:(?:sk|rk|gsk|xai|pplx|csk|nvapi)[-_]|(?:hf|r8|fw|tgp)_|AIza|ya29\\\\.|eyJ)[-A-Za-z0-9_.+/=]{12,}'": FOREIGN,
    "bifrost.misplaced_keys '[A-Za-z0-9]{16,}'": FOREIGN,
    "bifrost.misplaced_keys '(?<=://)[^/?#\\\\s@]{1,4096}@'": FOREIGN,
    "bifrost.misplaced_keys"
    " '(?:\\\\A|/)(?:sk-|gsk_|xai-|pplx-|nvapi-|csk-|AIza)(?=[-\\\\w+/=.]{0,64}[0-9])[-\\\\w+/=.]{12}'": FOREIGN,
    "bifrost.providers.anthropic.families"
    " 'claude-(?:(?:opus|sonnet|haiku|fable|mythos)-)?(\\\\d{1,2})(?:[-.](\\\\d{1,2}))?(?!\\\\d)'": FOREIGN,
    "bifrost.providers.anthropic.messages '[\\\\x21-\\\\x7e]+'": FOREIGN,
    "bifrost.providers.anthropic.messages '[a-zA-Z0-9_-]{1,128}'": FOREIGN,
    "bifrost.providers.anthropic.messages 'data:([^;,]+);base64,(.*)'": MATCHED,
    "bifrost.providers.anthropic.messages '[a-zA-Z0-9_-]+'": FOREIGN,
    "bifrost.providers.azure '(?<=[^/])/openai(/v1)?/*$'": OURS,
    "bifrost.providers.azure '\\\\d{4}-\\\\d{2}-\\\\d{2}(-preview)?'": OURS,
    "bifrost.providers.bedrock.converse '[a-zA-Z0-9_-]{1,64}'": FOREIGN,
    "bifrost.providers.bedrock.families '[a-zA-Z0-9_.:-]{1,64}'": FOREIGN,
    "bifrost.providers.bedrock.families '[a-zA-Z0-9_-]{1,64}'": FOREIGN,
    "bifrost.providers.bedrock.families 'claude-(?:[a-z]{1,12}-)?(\\\\d{1,2})(?:[-.](\\\\d{1,2}))?(?!\\\\d)'": FOREIGN,
    "bifrost.providers.bedrock.media 'data:([^;,]+)(?:;[^,]{0,200})?;base64,(.*)'": MATCHED,
    "bifrost.providers.bedrock.media '[^\\\\w\\\\-()\\\\[\\\\] ]|_'": OURS,
    "bifrost.providers.bedrock.token_count '(?:us|us-gov|eu|apac|jp|au|ca|global)\\\\.(?=[a-z0-9-]{1,63}\\\\.)'": FOREIGN,
    "bifrost.providers.bedrock.settings '[a-z0-9-]{1,32}'": OURS,
    "bifrost.providers.mistral.ocr 'data:([^;,]+);base64,(.*)'": MATCHED,
    "bifrost.providers.bodies '<title[^<>]*>([^<]*)'": FOREIGN,
    "bifrost.providers.bodies '<[^<>]*>'": FOREIGN,
    "bifrost.providers.compatible '[a-zA-Z0-9]{9}'": FOREIGN,
    "bifrost.providers.gemini '/v1(?:beta|alpha)?/*$'": OURS,
    "bifrost.providers.gemini.families 'gemini-(\\\\d)(?:\\\\.(\\\\d))?(?:-(?:\\\\d{3}-)?(flash-lite|flash|pro))?'": FOREIGN,
    "bifrost.providers.gemini.media 'data:([^;,]+);base64,(.*)'": MATCHED,
    "bifrost.providers.gemini.media '\\\\.([a-zA-Z0-9]{1,5})(?:[?#]|$)'": FOREIGN,
    "bifrost.providers.gemini.tools '[a-zA-Z_][a-zA-Z0-9_.:-]{0,127}'": FOREIGN,
    "bifrost.providers.gemini.partial_arguments '\\\\.([^.\\\\[\\\\]]+)|\\\\[(\\\\d{1,4})\\\\]|\\\\[\\'([^\\'\\\\]]*)\\'\\\\]|\\\\[\\\\\"([^\\\\\"\\\\]]*)\\\\\"\\\\]'": MATCHED,
    "bifrost.providers.vertex.settings '[a-z0-9-]{1,32}'": OURS,
    "bifrost.providers.vertex.settings '[a-zA-Z0-9:._-]{1,64}'": OURS,
    "bifrost.providers.vertex.settings '/v1(?:beta1)?/*$'": OURS,
    "bifrost.providers.vertex.settings 'publishers/([^/]{1,64})/models/(.+)'": FOREIGN,
    "bifrost.providers.vertex.embeddings 'gemini-embedding-(?!001(?!\\\\d))'": FOREIGN,
    "bifrost.testing.render_gemini '/(?:models|tunedModels)/([^/:?]+):(\\\\w+)'": OURS,
    "bifrost.providers.ollama.chat 'data:([^;,]+);base64,(.*)'": MATCHED,
    "bifrost.providers.ollama.errors 'model \\\\S{1,300} not found'": FOREIGN,
    "bifrost.providers.openai.answer 'data:([^;,]+);base64,(.*)'": MATCHED,
    "bifrost.providers.openai.calls '[{}\\\\[\\\\]\"\\\\\\\\]'": FOREIGN,
    "bifrost.providers.openai.calls '[\"\\\\\\\\]'": FOREIGN,
    "bifrost.providers.openai.families 'o[1-9](-(mini|pro|preview))?(-\\\\d{4}-\\\\d\\\\d-\\\\d\\\\d)?'": FOREIGN,
    "bifrost.providers.openai.families 'gpt-5(-(mini|nano|pro))?(-\\\\d{4}-\\\\d\\\\d-\\\\d\\\\d)?'": FOREIGN,
    "bifrost.providers.openai.families 'gpt-5\\\\.\\\\d+(-(mini|nano))?(-\\\\d{4}-\\\\d\\\\d-\\\\d\\\\d)?'": FOREIGN,
    "bifrost.providers.openai.quirks '.{1,40}'": FOREIGN,
    "bifrost.providers.wording pattern": MADE,
    "bifrost.operations.chat.structured.json_text '[{\\\\[`<](?:(?<=[{\\\\[])|(?<=`)(?=``|`?\\\\Z)|(?<=<)(?=/|\\\\Z))'": FOREIGN,
    "bifrost.operations.chat.structured.json_text f'(?:{_PLAIN}++|{_QUOTED}|{_NESTED}){{0,256}}'": MATCHED,
    'bifrost.operations.chat.structured.lenient \'"(?:[^"\\\\\\\\]|\\\\\\\\.)*+"|-?(?<![0-9])[0-9]++(?:\\\\.[0-9]++(?:[eE][-+]?[0-9]++)?|[eE][-+]?[0-9]++)\'': FOREIGN,
    "bifrost.operations.chat.structured.lenient '[0-9](?:\\\\.[0-9]|[eE][-+0-9])'": FOREIGN,
    "bifrost.operations.chat.structured.json_text '[ \\\\t\\\\n\\\\r]*'": FOREIGN,
    "bifrost.operations.chat.structured.json_text '[^\"\\\\\\\\]*'": FOREIGN,
    "bifrost.operations.chat.structured.lenient '(-?[0-9]+)\\\\.0+'": MATCHED,
    "bifrost.operations.chat.structured.lenient"
    " '(?P<sign>[-+]?)P(?:(?P<weeks>\\\\d+(?:\\\\.\\\\d+)?)W)?(?:(?P<days>\\\\d+(?:\\\\.\\\\d+)?)D)?(?:T(?:(?P<hours>\\\\d+(?:\\\\.\\\\d+)?)H)?(?:(?P<minutes>\\\\d+(?:\\\\.\\\\d+)?)M)?(?:(?P<seconds>\\\\d+(?:\\\\.\\\\d+)?)S)?)?'": FOREIGN,
    "bifrost.operations.chat.structured.lenient"
    " '(?P<sign>[-+]?)(?P<hours>\\\\d{1,4}):(?P<minutes>\\\\d{2})(?::(?P<seconds>\\\\d{2}(?:\\\\.\\\\d+)?))?'": FOREIGN,
    "bifrost.operations.chat.structured.output_type '(?:[\\\\w<>]+\\\\.)+'": OURS,
    "bifrost.operations.chat.structured.output_type '[^a-zA-Z0-9-]+'": OURS,
    "bifrost.operations.chat.structured.strict_schema '\\\\(\\\\?(?!:)|\\\\\\\\[1-9AbBGkpPzZ]'": OURS,
    "bifrost.operations.chat.structured.lifting f'(?<![A-Za-z0-9_-]){ANSWER_TOOL}(?![A-Za-z0-9_-])'": FOREIGN,
    "bifrost.operations.chat.tools '[a-zA-Z0-9_.:-]{1,128}'": FOREIGN,
    "bifrost.operations.typed '`[^`]*`'": OURS,
    "bifrost.operations.typed '\\\\w+'": OURS,
    "bifrost.providers.custom '/[\\\\x21\\\\x22\\\\x24-\\\\x7e]*'": FOREIGN,
    "bifrost.settings.document ' \\\\(at (.*)\\\\)$'": BOUNDED,
    "bifrost.settings.document '^[ \\\\t\\\\[]*(?:[\\\\w-]+[ \\\\t]*\\\\.[ \\\\t]*){128}'": FOREIGN,
    "bifrost.settings.document '[\\'\"(].{2,}[\\'\")]'": BOUNDED,
    "bifrost.settings.environment '[A-Za-z_][A-Za-z0-9_]*'": FOREIGN,
    "bifrost.settings.original.place '/v\\\\d+$'": FOREIGN,
    "bifrost.settings.original.place '[a-zA-Z]+://[^/?#]+'": MATCHED,
    "bifrost.settings.original.usage '(\\\\d+(?:\\\\.\\\\d*)?|\\\\.\\\\d+)(ns|us|µs|ms|s|m|h)'": BOUNDED,
    'bifrost.settings.ours "[A-Za-z0-9!#$%&\'*+.^_`|~-]+"': FOREIGN,
    "bifrost.settings.ours '[\\\\x20-\\\\x7e]*'": FOREIGN,
    "bifrost.settings.problems '[\\\\w$-]+'": FOREIGN,
    "bifrost.sync '\\\\basync (?=with |for )|\\\\bawait '": OURS,
    "bifrost.testing.dialect '\\\\s*\\\\S+|\\\\s+'": OURS,
    "bifrost.testing.pytest_plugin '[^\\\\w.\\\\-]+'": OURS,
    "bifrost.testing.tape"
    " '(?<=[?&])(key|api[-_]?key|access[-_]?token|token|sig|signature|x-amz-[a-z-]+)=[^&]*'": FOREIGN,
    "bifrost.testing.tape '[^\\\\n]*\\\\n|[^\\\\n]+'": FOREIGN,
    "bifrost.testing.tape re.escape(each)": MADE,
    "bifrost.wire.secrets '[\\\\x21-\\\\x7e]{1,8192}'": FOREIGN,
    "bifrost.wire.secrets 'env\\\\.\\\\w+|\\\\$\\\\w+|\\\\$\\\\{\\\\w+\\\\}|[A-Z][A-Z0-9]*_API_KEY'": MATCHED,
    "bifrost.wire.auth.query '[A-Za-z0-9._~-]{1,64}'": OURS,
    "bifrost.wire.hosts '(?:\\\\[([0-9A-Fa-f:.]*)\\\\]|([^\\\\[\\\\]:@]+))(?::([0-9]*))?'": FOREIGN,
    "bifrost.wire.hosts '[A-Za-z0-9_-]{1,63}'": FOREIGN,
    "bifrost.wire.hosts '[0-9]+|0[xX][0-9A-Fa-f]*'": FOREIGN,
    "bifrost.wire.http.request"
    ' b"[!-~]++ [!-~]++ HTTP/1\\\\.1(?:\\\\n[!#$%&\'*+\\\\-.^_`|~0-9A-Za-z]++:[^\\\\r\\\\n\\\\0]*+)*+"': OURS,
    "bifrost.wire.http.response b'\\\\r?\\\\n'": FOREIGN,
    "bifrost.wire.http.response b'\\\\n\\\\r?\\\\n'": FOREIGN,
    "bifrost.wire.http.response"
    " b'HTTP/1\\\\.([01]) ([1-9][0-9]{2})(?: [^\\\\x00-\\\\x08\\\\x0a-\\\\x1f\\\\x7f]*+)?\\\\r?\\\\n'": FOREIGN,
    'bifrost.wire.http.response b"([!#$%&\'*+\\\\-.^_`|~0-9A-Za-z]++):([^\\\\x00\\\\r\\\\n]*+)\\\\r?\\\\n"': MATCHED,
    "bifrost.wire.http.response"
    ' b"(?:[!#$%&\'*+\\\\-.^_`|~0-9A-Za-z]++:[^\\\\x00\\\\r\\\\n]*+\\\\r?\\\\n)*+\\\\r?\\\\n"': MATCHED,
    "bifrost.wire.http.response b'\\\\r?\\\\n[ \\\\t]++'": FOREIGN,
    "bifrost.wire.http.response"
    " b'([0-9A-Fa-f]{1,16})[ \\\\t]{0,256}+(?:;[^\\\\x00\\\\r\\\\n]{0,3500}+)?\\\\r\\\\n'": MATCHED,
    "bifrost.wire.http.response"
    " b'\\\\r\\\\n([0-9A-Fa-f]{1,16})[ \\\\t]{0,256}+(?:;[^\\\\x00\\\\r\\\\n]{0,3500}+)?\\\\r\\\\n'": MATCHED,
    "bifrost.wire.json _NOT_FINITE": FOREIGN,
    "bifrost.wire.json _LONE_SURROGATE": FOREIGN,
    "bifrost.wire.partial_json '[ \\\\t\\\\n\\\\r]*'": FOREIGN,
    "bifrost.wire.partial_json '[-+.eE0-9]+|[a-z]+'": FOREIGN,
    "bifrost.wire.partial_json '[-+.eE0-9]*'": FOREIGN,
    "bifrost.wire.partial_json '-?(?:0|[1-9][0-9]*)(?:\\\\.[0-9]+)?(?:[eE][-+]?[0-9]+)?'": FOREIGN,
    "bifrost.wire.partial_json '[^\"\\\\\\\\]*'": FOREIGN,
    "bifrost.wire.partial_json '\\\\\\\\u[0-9a-fA-F]{4}'": FOREIGN,
    "bifrost.wire.partial_json '\\\\\\\\u[dD][c-fC-F][0-9a-fA-F]{2}'": FOREIGN,
    "bifrost.wire.escapes b'%(?:25){0,3}([0-9a-f]{2})|\\\\\\\\{1,8}(?:u([0-9a-f]{4})|x([0-9a-f]{2})|([^\\\\\\\\]))|&(?:amp;){0,3}(#[0-9]{1,7}|#x[0-9a-f]{1,6}|lt|gt|amp|quot|apos);'": FOREIGN,
    "bifrost.wire.escapes b'%[0-9a-f][0-9a-f]'": FOREIGN,
    "bifrost.wire.escapes b'&#(?:[0-9]{1,7}|x[0-9a-f]{1,6});'": FOREIGN,
    "bifrost.wire.escapes b'\\\\\\\\[\\\\\\\\uxrtbf]'": FOREIGN,
    "bifrost.wire.escapes b'\\\\\\\\u(?!00[0-7])[0-9a-f]{4}'": FOREIGN,
    "bifrost.wire.ngrams b'\\\\x01(?:\\\\x00{0,23}\\\\x01)*+'": FOREIGN,
    "bifrost.wire.ngrams b'\\\\x01+'": FOREIGN,
    "bifrost.wire.ngrams f'[{_NEVER}{self._characters()}]'": MADE,
    "bifrost.wire.redaction"
    " b'\\\\*[*#]+|#[*#]+|\\\\.\\\\.+|xxx+|___+|---+|%b(?:%b|\\\\xc2\\\\xb7)*|\\\\xc2\\\\xb7(?:\\\\xc2\\\\xb7)*|\\\\[(?:redacted|masked|hidden|secret|filtered)\\\\]|<(?:redacted|masked|hidden|secret|filtered)>' % (_BULLET, _BULLET)": FOREIGN,
    "bifrost.wire.redaction b'[^\\\\w.:/ -]|\\\\.\\\\.|xxx|__|--'": FOREIGN,
    "bifrost.wire.redaction '[A-Za-z0-9+/_-]{8,}={0,2}'": FOREIGN,
    "bifrost.wire.redaction b'(?:end|last|tail|suffix)[^\\\\n]{0,24}\\\\Z'": FOREIGN,
    "bifrost.wire.redaction b'(?<!\\\\w)(?:%b)(?!\\\\w)' % either": MADE,
    "bifrost.wire.waits _NUMBER": MATCHED,
    "bifrost.wire.waits _COUNT": MATCHED,
    "bifrost.wire.waits _RFC_3339": MATCHED,
    "bifrost.wire.waits form": MADE,
    "bifrost.wire.waits _DURATION": MATCHED,
}
"""By module and pattern, as the code writes it."""


def _expressions() -> Iterator[tuple[str, str, str]]:
    """Give each pattern: its name here, its module, and the code that gives it."""
    for path in sorted((_ROOT / "bifrost").rglob("*.py")):
        module = ".".join(path.relative_to(_ROOT).with_suffix("").parts).removesuffix(".__init__")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name(id="re"), attr=name), args=[first, *_]) if (
                    name in _FUNCTIONS
                ):
                    yield f"{module} {ast.unparse(first)}", module, ast.unparse(first)
                case _:
                    pass


EXPRESSIONS = {name: (module, code) for name, module, code in _expressions()}


def test_every_pattern_has_an_entry() -> None:
    assert sorted(EXPRESSIONS) == sorted(PATTERNS), "a pattern came or went: say here what it reads"


@pytest.mark.parametrize("name", [name for name, reads in PATTERNS.items() if reads in (FOREIGN, MATCHED)])
def test_no_pattern_over_foreign_text_is_worse_than_linear(name: str) -> None:
    module, code = EXPRESSIONS[name]
    found: Any = eval(code, vars(importlib.import_module(module)))  # noqa: S307 - our own source
    for form in found if isinstance(found, tuple) else [found]:
        pattern = re.compile(form, re.DOTALL | (re.VERBOSE if "SURROGATE" in code or "FINITE" in code else 0))
        for before, unit, tail in _attacks(pattern):

            def run(n: int, pattern: re.Pattern[Any] = pattern, attack: Any = (before, unit, tail)) -> object:
                text = attack[0] + attack[1] * (n // len(attack[1])) + attack[2]
                searched = pattern.finditer(text) if PATTERNS[name] == FOREIGN else ()
                return pattern.match(text), pattern.fullmatch(text), [None for _ in searched]

            # Linear patterns take 1 ms for this, at worst 10; quadratic ones 100 ms and more.
            assert any(spent(partial(run, SIZE), times=1) < LIMIT for _ in range(3)), (code, before, unit, tail)


def _attacks(pattern: re.Pattern[Any]) -> Iterator[tuple[Any, Any, Any]]:
    tree = parser.parse(pattern.pattern, pattern.flags)
    whole = _sample(tree)
    is_bytes = isinstance(pattern.pattern, bytes)
    texts = {("", whole), *(_repeats(tree, ""))}
    for before, unit in sorted(texts):
        if not unit:
            continue
        for tail in ("", "\x00"):
            yield _of(before, is_bytes), _of(unit, is_bytes), _of(tail, is_bytes)


def _of(text: str, is_bytes: bool) -> Any:
    return text.encode("latin-1", "replace") if is_bytes else text


def _repeats(tree: Any, before: str) -> Iterator[tuple[str, str]]:
    """Give each repeated part, with what may lead to it."""
    for kind, value in tree:
        match str(kind):
            case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
                unit = _sample(value[2])
                yield before, unit
                yield "", before + unit
                yield from _repeats(value[2], before)
            case "SUBPATTERN":
                yield from _repeats(value[3], before)
            case "BRANCH":
                for branch in value[1]:
                    yield before, _sample(branch)
                    yield from _repeats(branch, before)
            case "ATOMIC_GROUP":
                yield from _repeats(value, before)
            case _:
                pass
        before += _sample([(kind, value)])


def _sample(tree: Any) -> str:
    """Give a text that a part matches, or nearly."""
    return "".join(_sample_of(str(kind), value) for kind, value in tree)


def _sample_of(kind: str, value: Any) -> str:
    match kind:
        case "LITERAL":
            return chr(value)
        case "NOT_LITERAL" | "ANY":
            return "a"
        case "IN":
            return _member(value)
        case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
            return _sample(value[2]) * max(1, min(int(value[0]), 200))
        case "SUBPATTERN":
            return _sample(value[3])
        case "BRANCH":
            return _sample(value[1][0])
        case "ATOMIC_GROUP":
            return _sample(value)
        case _:
            return ""


def _member(members: Any) -> str:
    codes = [(str(kind), value) for kind, value in members]
    if codes[0][0] == "NEGATE":
        return next(each for each in "a1 -.~é" if not re.match(_as_class(codes[1:]), each))
    kind, value = codes[-1]
    match kind:
        case "LITERAL":
            return chr(value)
        case "RANGE":
            return chr(value[0])
        case _:
            return {"CATEGORY_DIGIT": "1", "CATEGORY_WORD": "a", "CATEGORY_SPACE": " "}.get(str(value), "a")


def _as_class(codes: list[tuple[str, Any]]) -> str:
    parts = {
        "LITERAL": lambda value: re.escape(chr(value)),
        "RANGE": lambda value: f"{re.escape(chr(value[0]))}-{re.escape(chr(value[1]))}",
    }
    named = {"CATEGORY_DIGIT": r"\d", "CATEGORY_WORD": r"\w", "CATEGORY_SPACE": r"\s"}
    return "[" + "".join(parts[kind](value) if kind in parts else named[str(value)] for kind, value in codes) + "]"
