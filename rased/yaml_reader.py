"""Read YAML as plain values: mappings, lists, text, numbers, true, false and null; no objects, no dates.

Files from others must not contain anchors, aliases or tags. The user's own files may contain anchors. Size,
depth and number of values are limited and checked before anything is built, and duplicate keys are rejected.
Numbers follow YAML 1.2: 1e-3 is a number; 007 and 10:30 are text.
"""

import re
from pathlib import Path
from typing import Any

import yaml

from rased.errors import RasedError, cut

LARGEST = 16 << 20
"""Maximum bytes of a file."""
DEEPEST = 64
"""Maximum depth of nested lists and mappings."""
MOST = 200_000
"""Maximum number of values in a file; an aliased value counts at each place."""

_BITS = 64
"""Maximum number of digits of an integer."""

# The C versions, where PyYAML has them, are much faster.
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
    """Loads plain values only; a duplicate key is an error."""

    # Without YAML 1.1's dates and numbers; `_NUMBERS` adds those of YAML 1.2.
    yaml_implicit_resolvers = {  # noqa: RUF012 (as PyYAML keeps it)
        letter: [pair for pair in pairs if pair[0].rpartition(":")[2] not in _OTHERS]
        for letter, pairs in _Base.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Build a mapping like PyYAML, but accept only text and integers as keys, each at most once."""
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
                problem = f"the key {cut(repr(key), 60)} occurs twice"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key_node.start_mark)
            if place >= 0:  # keys of a merge key (<<) come before ours and may be overridden
                seen.add(key)
            found[key] = self.construct_object(value_node, deep=deep)
        return found


class _Dumper(_BaseDumper):
    """Writes YAML that `_Loader` reads back unchanged."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write a repeated value again instead of an alias."""
        return True


for _class in (_Loader, _Dumper):
    for _kind, _form in _NUMBERS.items():
        # PyYAML chooses resolvers by the first letter of a value.
        _class.add_implicit_resolver(
            f"tag:yaml.org,2002:{_kind}", re.compile(rf"(?:{_form})\Z"), list("-+.0123456789")
        )


def read(path: Path, *, own: bool = False, largest: int = LARGEST) -> Any:
    """Read a YAML file.

    Args:
        path: the file.
        own: the user wrote the file, so anchors are allowed.
        largest: maximum size in bytes.

    Raises:
        RasedError: the file cannot be read, is too large, is not YAML, or holds more than plain values.
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
        content: bytes of the file.
        of: name of the file in error messages.
        own: the user wrote the file, so anchors are allowed.
        largest: maximum size in bytes.
    """
    if len(content) > largest:
        raise RasedError(f"{of} is larger than {largest >> 10} kB, which is not allowed.")
    try:
        text = content.decode("utf-8-sig")
        _check_events(text, of, own)  # on events: nothing is built yet
        value = yaml.load(text, Loader=_Loader)
        _check_values(value, of)
    except RasedError:
        raise
    except UnicodeDecodeError as error:
        raise RasedError(f"{of} is not YAML: byte {error.start} is not valid UTF-8.") from None
    except Exception as error:
        # PyYAML lets other exceptions through for values that it cannot build.
        raise RasedError(f"{of} is not valid YAML: {_reason(error)}.") from None
    return value


def dump(value: Any) -> str:
    """Write plain values as YAML; keep the order of keys."""
    return str(yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100))


def _check_events(text: str, of: str, own: bool) -> None:
    """Check limits, anchors and tags on the parser's events, before anything is built."""
    depth = count = 0
    for event in yaml.parse(text, Loader=_Base):
        count += 1
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if count > MOST or depth > DEEPEST:
            what = f"{MOST} values" if count > MOST else f"{DEEPEST} nested lists or mappings"
            raise RasedError(f"{of} has more than {what}, which is not allowed.")
        if not isinstance(event, yaml.NodeEvent):
            continue
        line = f"line {event.start_mark.line + 1 if event.start_mark else '?'}"
        if event.anchor is not None and not own:
            raise RasedError(
                f"{of} has an anchor or alias (& or *) in {line}: write the value itself at each place."
            )
        if getattr(event, "tag", None) is not None:
            raise RasedError(f"{of} has a tag (!) in {line}: only plain values are allowed.")


def _check_values(value: Any, of: str) -> None:
    """Count the values, aliased ones at each place; reject a value that contains itself, and huge integers."""
    count = 0
    waiting = [(value, 0)]
    while waiting:
        item, depth = waiting.pop()
        count += 1
        if count > MOST or depth > DEEPEST:
            raise RasedError(
                f"{of}: its aliases expand to too many values, or a value contains itself."
            )
        if isinstance(item, dict):
            waiting += [(one, depth + 1) for pair in item.items() for one in pair]
        elif isinstance(item, list):
            waiting += [(one, depth + 1) for one in item]
        elif isinstance(item, str):
            item.encode()  # fails for half of a surrogate pair
        elif isinstance(item, int) and item.bit_length() > _BITS:
            raise RasedError(
                f"{of} holds an integer of {item.bit_length()} bits, which is not allowed."
            )


def _reason(error: Exception) -> str:
    if "set_int_max_str_digits" in str(error):
        return "a number has thousands of digits"
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"{cut(error.problem or '')} (line {error.problem_mark.line + 1})"
    return cut(" ".join(str(error).split()) or type(error).__name__)
