"""YAML in, plain values out: mappings, lists, text, numbers, true, false and nothing; never an object, never a date.

What others wrote holds no anchors, aliases or tags. One's own files may hold anchors. Both are bounded in size,
depth and number of values before anything is built, and a key that comes twice is refused. Numbers are those of
YAML 1.2: 1e-3 is one, and 007 and 10:30 are text.
"""

import re
from pathlib import Path
from typing import Any

import yaml

from rased.errors import RasedError, cut

LARGEST = 16 << 20
"""Bytes of a file."""
DEEPEST = 64
"""Lists and mappings within each other."""
MOST = 200_000
"""Values in a file, those behind aliases counted at each place."""

_BITS = 64
"""Of a whole number."""

_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_BaseDumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_NUMBERS = {
    "int": r"[-+]?(?:0|[1-9][0-9_]*|0x[0-9a-fA-F]+)",
    "float": (
        r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
    ),
}
_OTHERS = ("timestamp", "int", "float")


class _Loader(_Base):
    """Plain values only; a key that comes twice is an error."""

    yaml_implicit_resolvers = {  # noqa: RUF012 (as PyYAML keeps it)
        letter: [pair for pair in pairs if pair[0].rpartition(":")[2] not in _OTHERS]
        for letter, pairs in _Base.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """As PyYAML does, for keys that are text or whole numbers and come once."""
        explicit = sum(key.tag != "tag:yaml.org,2002:merge" for key, _ in node.value)
        self.flatten_mapping(node)
        found: dict[Any, Any] = {}
        seen = set()
        for place, (key_node, value_node) in enumerate(node.value, explicit - len(node.value)):
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str | int) or isinstance(key, bool):
                raise yaml.MarkedYAMLError(
                    problem="a key that is not text", problem_mark=node.start_mark
                )
            if key in seen:
                problem = f"the key {cut(repr(key), 60)} comes twice"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key_node.start_mark)
            if place >= 0:  # those of a merge key (<<) come before, and give way
                seen.add(key)
            found[key] = self.construct_object(value_node, deep=deep)
        return found


class _Dumper(_BaseDumper):
    """Writes what `_Loader` reads back as it was."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write a value that comes twice twice."""
        return True


for _class in (_Loader, _Dumper):
    for _kind, _form in _NUMBERS.items():
        _class.add_implicit_resolver(
            f"tag:yaml.org,2002:{_kind}", re.compile(rf"(?:{_form})\Z"), list("-+.0123456789")
        )


def read(path: Path, *, own: bool = False, largest: int = LARGEST) -> Any:
    """Read a YAML file.

    Args:
        path: of the file.
        own: whether the user wrote it: anchors are allowed.
        largest: bytes.

    Raises:
        RasedError: not readable, too large, not YAML, or more than plain values.
    """
    try:
        with path.open("rb") as file:
            content = file.read(largest + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise RasedError(f"'{path}' cannot be read: {reason}.") from error
    return parse(content, of=f"'{path}'", own=own, largest=largest)


def parse(content: bytes, *, of: str, own: bool = False, largest: int = LARGEST) -> Any:
    """Parse YAML in UTF-8; see `read`.

    Args:
        content: of the file.
        of: names it in messages.
        own: whether the user wrote it.
        largest: bytes.
    """
    if len(content) > largest:
        raise RasedError(f"{of} is larger than {largest >> 10} kB, and is not read.")
    try:
        text = content.decode("utf-8-sig")
        _check_events(text, of, own)
        value = yaml.load(text, Loader=_Loader)
        _check_values(value, of)
    except RasedError:
        raise
    except UnicodeDecodeError as error:
        raise RasedError(f"{of} is not YAML: byte {error.start} is not UTF-8.") from None
    except (
        Exception
    ) as error:  # PyYAML raises more than its own errors for values that it cannot build
        raise RasedError(f"{of} is not YAML that can be read: {_reason(error)}.") from None
    return value


def dump(value: Any) -> str:
    """Write plain values as YAML, keys in their order."""
    return str(yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100))


def _check_events(text: str, of: str, own: bool) -> None:
    """Go through the marks of a text without building anything."""
    depth = count = 0
    for event in yaml.parse(text, Loader=_Base):
        count += 1
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if count > MOST or depth > DEEPEST:
            what = (
                f"{MOST} values" if count > MOST else f"{DEEPEST} lists or mappings in each other"
            )
            raise RasedError(f"{of} holds more than {what}, and is not read.")
        if not isinstance(event, yaml.NodeEvent):
            continue
        line = f"line {event.start_mark.line + 1 if event.start_mark else '?'}"
        if event.anchor is not None and not own:
            raise RasedError(
                f"{of} has an anchor or alias (& or *) in {line}: write the value out at each place."
            )
        if getattr(event, "tag", None) is not None:
            raise RasedError(f"{of} has a tag (!) in {line}: only plain values are read.")


def _check_values(value: Any, of: str) -> None:
    """Count the values, those behind aliases at each place; refuse a value within itself and a number without end."""
    count = 0
    waiting = [(value, 0)]
    while waiting:
        item, depth = waiting.pop()
        count += 1
        if count > MOST or depth > DEEPEST:
            raise RasedError(f"{of}: its aliases repeat too much, or a value holds itself.")
        if isinstance(item, dict):
            waiting += [(one, depth + 1) for pair in item.items() for one in pair]
        elif isinstance(item, list):
            waiting += [(one, depth + 1) for one in item]
        elif isinstance(item, str):
            item.encode()
        elif isinstance(item, int) and item.bit_length() > _BITS:
            raise RasedError(f"{of} holds a number of {item.bit_length()} bits, and is not read.")


def _reason(error: Exception) -> str:
    if "set_int_max_str_digits" in str(error):
        return "a number has thousands of digits"
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"{cut(error.problem or '')} (line {error.problem_mark.line + 1})"
    return cut(" ".join(str(error).split()) or type(error).__name__)
