"""Read JSON and CSV files from outside and check them: typed values, or one sentence that names the problem.

A document is JSON in UTF-8 (with or without a byte order mark). A schema (a `msgspec.Struct`, a TypedDict, or a
list of them) defines its fields and their values. A document that passes has the right types, finite numbers
within their bounds, and strings that can be encoded; later code does not check again.
"""

import codecs
import csv
import json
import math
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec
import numpy as np

from rased.errors import RasedError, cut, shown
from rased.names import component

T = TypeVar("T")


# At run time a class, which msgspec hands to `_name`; to mypy a string.
if TYPE_CHECKING:
    Name = str
else:

    class Name(str):
        """A string that is used as a file name: one safe component of a path (see `names.component`)."""

        __slots__ = ()


LARGEST = 256 << 20
"""Maximum bytes of a document."""
DEEPEST = 32
"""Maximum depth of nested brackets."""
NOT_IN_A_LINE = r"\x00-\x1f\x7f-\x9f\u2028\u2029"
"""Line breaks and control characters, as a character class of a regular expression."""
# A union of one of these types with a list or a mapping crashes msgspec 0.22: check such a field separately.
Text = Annotated[str, msgspec.Meta(max_length=10_000, pattern=r"\A[^\x00]*\Z")]
"""Text of any number of lines."""
Word = Annotated[str, msgspec.Meta(max_length=1000, pattern=rf"\A[^{NOT_IN_A_LINE}]*\Z")]
"""One line of text: a label, a speaker, a licence."""
Line = Annotated[str, msgspec.Meta(max_length=10_000, pattern=rf"\A[^{NOT_IN_A_LINE}]*\Z")]
"""One long line of text: a sentence, a status."""
Hash = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
"""A SHA-256 in hexadecimal, 64 digits."""
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
"""A count, of things or bytes."""
SampleRate = Annotated[int, msgspec.Meta(ge=1000, le=768_000)]
"""In Hz."""
Number = Annotated[float, msgspec.Meta(ge=-1e300, le=1e300)]
"""Any finite number."""

# The patterns above as msgspec prints them, and in words.
_EXPECTED = (
    (r"\\A\[\^\\x00\]\*\\Z", "text without zero bytes"),
    (r"\\A\[\^.*\]\*\\Z", "one line of text"),
    (r"\\A\[0-9a-f\]\{64\}\\Z", "64 hexadecimal digits"),
    (r"\\Ahttps\?://.*", "an address without spaces that begins with https:// or http://"),
)
_WORDS = {
    "`int`": "a whole number",
    "`float`": "a number",
    "`str`": "text",
    "`bool`": "true or false",
    "`array`": "a list",
    "`object`": "fields in braces",
    "`null`": "null",
}
MOST_COLUMNS = 1000
LONGEST_FIELD = 100_000
"""Maximum characters in a field of a table."""


def one_line(text: str) -> str:
    r"""Convert text to the form of `Word`: replace line breaks and control characters by spaces.

    >>> one_line("two\nlines")
    'two lines'
    """
    return re.sub(rf"[{NOT_IN_A_LINE}]+", " ", text[:1000])  # the longest `Word`


def read(path: Path, schema: Callable[..., T], *, repair: str, largest: int = LARGEST) -> T:
    """Read and check a JSON file.

    Args:
        path: the file.
        schema: type of the content: a class, or `list[...]` or `dict[...]` of some.
        repair: sentence for the error message: what to do if the file is wrong.
        largest: maximum size in bytes; a larger file is not read.

    Raises:
        RasedError: not a file, unreadable, too large, not JSON, or not what the schema requires.
    """
    return parse(read_bytes(path, repair=repair, largest=largest), schema, of=path, repair=repair)


def read_bytes(path: Path, *, repair: str, largest: int = LARGEST) -> bytes:
    """Read the bytes of a document; see `read`.

    Raises:
        RasedError: not a file, unreadable or too large.
    """
    try:
        status = path.stat()
        # A pipe or a device could block, or never end.
        if not stat.S_ISREG(status.st_mode):
            raise RasedError(f"'{path}' is not a file. {repair}")
        if status.st_size > largest:
            raise RasedError(
                f"'{path}' has {status.st_size} bytes; the maximum is {largest}. {repair}"
            )
        with path.open("rb") as file:
            return file.read(largest + 1)
    except RasedError:  # is a ValueError too
        raise
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise RasedError(f"'{path}' cannot be read: {reason.lower()}. {repair}") from error


def parse(data: bytes | str, schema: Callable[..., T], *, of: Path | str, repair: str) -> T:
    """Parse and check a JSON document; see `read`.

    Args:
        data: the document.
        schema: type of the content: a class, or `list[...]` or `dict[...]` of some.
        of: file or name of the document, for error messages.
        repair: sentence for the error message: what to do if the document is wrong.

    Raises:
        RasedError: not JSON, or not what the schema requires.
    """
    found: T = fit(plain(data, of=of, repair=repair), schema, of=of, repair=repair)
    return found


def plain(data: bytes | str, *, of: Path | str, repair: str) -> Any:
    """Parse JSON into plain Python values.

    Raises:
        RasedError: not UTF-8, not JSON, nested too deeply, a duplicate key, or a number that is not finite.
    """
    try:
        text = data if isinstance(data, str) else data.decode("utf-8-sig")
        # The parser recurses: deep nesting would exhaust its stack.
        if _depth(text) > DEEPEST:
            raise ValueError(f"brackets are nested more than {DEEPEST} deep")
        found = json.loads(
            text, object_pairs_hook=_unique, parse_float=_finite, parse_constant=_finite
        )
        # JSON may escape half of a surrogate pair, which is no character: encoding finds it.
        if re.search(r"\\u[dD][89a-fA-F]", text):
            json.dumps(found, ensure_ascii=False).encode()
    except UnicodeDecodeError as error:
        raise RasedError(
            f"'{of}' is damaged: it is not text in UTF-8 (byte {error.start}). {repair}"
        ) from None
    except UnicodeEncodeError:
        raise RasedError(
            f"'{of}' is damaged: it contains an unpaired surrogate, which is not a character. {repair}"
        ) from None
    except (ValueError, RecursionError) as error:
        raise RasedError(
            f"'{of}' is damaged: it is not JSON ({cut(str(error))}). {repair}"
        ) from None
    return found


def fit(
    content: Any, schema: Any, *, of: Path | str, repair: str, verdict: str = "is damaged"
) -> Any:
    """Convert plain values to the types of a schema, which may be any type that `msgspec.convert` accepts.

    Args:
        content: plain values.
        schema: the required type.
        of: file or name of the document, for error messages.
        repair: sentence for the error message: what to do if the content does not fit.
        verdict: verb phrase of the error message; use another one for files that people write by hand.

    Raises:
        RasedError: a field is missing or has a wrong value; the message names it.
    """
    try:
        # strict: "1" is no number
        return msgspec.convert(content, schema, strict=True, dec_hook=_name)
    except (msgspec.ValidationError, OverflowError, RecursionError) as error:
        reason = _explained(str(error), content, schema)
        raise RasedError(f"'{of}' {verdict}: {cut(reason, 500)}. {repair}") from None


def rows(path: Path, *, needed: Sequence[str], repair: str) -> Iterator[dict[str, str]]:
    """Read a table (CSV) row by row. The first line holds the names of the columns, in lower or upper case.

    The text is UTF-8 or, with a byte order mark, UTF-16. Columns are separated by commas, or by semicolons or tabs if
    the first line contains those and no comma. Spaces around fields and empty lines are ignored.

    Args:
        path: the file.
        needed: required columns.
        repair: sentence for the error message: what to do if the table cannot be read.

    Raises:
        RasedError: not a file, unreadable, not text, a column is missing or occurs twice, or a row has more
            fields than columns.
    """
    try:
        if not path.is_file():
            raise RasedError(f"'{path}' is not a file. {repair}")
        with path.open("rb") as file:
            start = file.read(2)
        wide = start in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        with path.open(newline="", encoding="utf-16" if wide else "utf-8-sig") as lines:
            first = lines.readline(LONGEST_FIELD)  # bounded: the file may be one endless line
            mark = next((m for m in ",;\t" if m in first), ",")
            lines.seek(0)
            table = csv.reader(lines, delimiter=mark)
            names = [name.strip().lower() for name in next(table, [])]
            for name in needed:
                if name not in names:
                    raise RasedError(
                        f"'{path}' has no column '{name}': the first line must hold the names of the columns. {repair}"
                    )
            if len(names) > MOST_COLUMNS:
                raise RasedError(
                    f"'{path}' has {len(names)} columns; the maximum is {MOST_COLUMNS}. {repair}"
                )
            for name in names:
                if name and names.count(name) > 1:
                    raise RasedError(f"'{path}' has two columns named '{name}'. {repair}")
            for row in table:
                fields = [field.strip() for field in row]
                if len(fields) > len(names) and any(fields[len(names) :]):
                    raise RasedError(
                        f"'{path}' line {table.line_num} has {len(fields)} fields, but the first line has only "
                        f"{len(names)} columns. {repair}"
                    )
                if any("\0" in field for field in fields):
                    raise RasedError(
                        f"'{path}' line {table.line_num} contains a zero byte. {repair}"
                    )
                if any(fields):
                    yield dict(zip(names, fields + [""] * (len(names) - len(fields)), strict=False))
    except UnicodeError as error:
        raise RasedError(f"'{path}' is not text in UTF-8: {cut(str(error))}. {repair}") from None
    except csv.Error as error:
        raise RasedError(f"'{path}' is not a table: {cut(str(error))}. {repair}") from None
    except OSError as error:
        raise RasedError(
            f"'{path}' cannot be read: {(error.strerror or str(error)).lower()}. {repair}"
        ) from error


def _explained(error: str, content: Any, schema: Any) -> str:
    """Describe what does not fit: the field, its value, and what is allowed."""
    # Such as: Expected `int`, got `str` - at `$.shards[0].bytes`
    wrong, _, place = error.partition(" - at `")
    parts = _located(error, place.partition("`")[0], content, schema)
    named = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)[1:]
    inner = re.fullmatch(
        r"Object (missing required|contains unknown) field `(.*)`", wrong, re.DOTALL
    )
    if inner:
        field = ".".join(part for part in (named, cut(inner[2], 60)) if part)
        missing = inner[1] == "missing required"
        return f"the field `{field}` is missing" if missing else f"the field `{field}` is unknown"
    expected = re.match(r"Expected (.*?)(?:, got .*)?\Z", wrong, re.DOTALL)
    said = f"expected {_in_words(expected[1])}" if expected else wrong[:1].lower() + wrong[1:]
    found = _at(content, parts)
    return f"{f'`{cut(named)}`' if named else 'the document'} is {shown(found)}; {said}"


def _located(error: str, place: str, content: Any, schema: Any) -> list[str | int]:
    """Return the path to the value that `msgspec` rejects; msgspec itself omits the keys of mappings ("[...]")."""
    parts: list[str | int] = []
    # $.name, [0], and [...] for any key
    for part in re.findall(r"\[\d+\]|\[\.\.\.\]|[^.$\[\]]+", place):
        inner = _at(content, parts)
        if part != "[...]":
            parts.append(int(part[1:-1]) if part.startswith("[") else part)
        elif isinstance(inner, dict):
            parts.append(
                next((k for k in inner if _fails_alone(error, parts, k, content, schema)), "...")
            )
    return parts


def _fails_alone(
    error: str, parts: Sequence[str | int], key: str, content: Any, schema: Any
) -> bool:
    """Return whether the same error occurs if a mapping holds this key alone."""
    alone: Any = {key: _at(content, [*parts, key])}
    for length in range(len(parts) - 1, -1, -1):
        around = _at(content, parts[:length])
        copy: Any = dict(around) if isinstance(around, dict) else list(around)
        copy[parts[length]] = alone
        alone = copy
    try:
        msgspec.convert(alone, schema, strict=True, dec_hook=_name)
    except (msgspec.ValidationError, OverflowError) as other:
        return str(other) == error
    return False


def _at(content: Any, parts: Sequence[str | int]) -> Any:
    """Return the value at a path, or None if the path does not exist."""
    for part in parts:
        try:
            content = content[part]
        except (KeyError, IndexError, TypeError):
            return None
    return content


def _name(kind: type, value: Any) -> Name:
    """Convert a value to `Name`, a type that `msgspec` does not know."""
    assert kind is Name, kind
    try:
        return Name(component(value, what="it"))
    except RasedError as error:
        raise ValueError(f"Expected {str(error).partition('must be ')[2].rstrip('.')}") from None


def _in_words(expected: str) -> str:
    """Return the type that msgspec expected, in plain words."""
    pattern = re.fullmatch(r"`str` matching regex '(.*)'", expected, re.DOTALL)
    if pattern is None:
        plainly = re.sub(
            r"`[^`]*`",
            lambda kinds: " or ".join(
                _WORDS.get(f"`{kind}`", kind) for kind in kinds[0][1:-1].split(" | ")
            ),
            expected,
        )
        return plainly.replace(">=", "of at least").replace("<=", "of at most")
    # In its messages, msgspec doubles backslashes.
    written = pattern[1].encode().decode("unicode_escape") if "\\\\" in pattern[1] else pattern[1]
    known = (words for shape, words in _EXPECTED if re.fullmatch(shape, written))
    return next(known, f"text of the form {written}")


def _depth(text: str) -> int:
    """Return the maximum depth of nested brackets outside strings."""
    if text.count("[") + text.count("{") <= DEEPEST:  # too few brackets, whatever is in strings
        return 0
    # Without escapes, each quote left begins or ends a string: the quotes so far, odd or even, say which.
    bare = text.replace("\\\\", "").replace('\\"', "").encode("utf-8", "replace")
    letters = np.frombuffer(bare, dtype=np.uint8)
    outside = ~np.logical_xor.accumulate(letters == ord('"'))
    steps = np.zeros(256, dtype=np.int32)
    steps[[ord("["), ord("{")]], steps[[ord("]"), ord("}")]] = 1, -1
    return int(np.cumsum(steps[letters] * outside).max(initial=0))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {shown(twice)} occurs twice")
    return found


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{cut(digits, 40)} is not a finite number")
    return number
