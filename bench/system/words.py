"""Words of a command line: made ready for tyro, and tyro's complaints about them in one line."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_type_hints

ANY_CASE = {
    "--account", "--compile", "--device", "--dtype", "--executor", "--grid", "--model", "--models", "--sampler",
    "--suite",
}  # fmt: skip
_KINDS = {"INT": "whole number", "FLOAT": "number", "PATH": "path", "STR": "name"}


def prepared(config: type, argv: Sequence[str], first: str = "") -> list[str]:
    """The words as tyro expects them.

    Values of options that take several may be separated by commas; names may be in any case; words before the first
    option are values of the option `first`.
    """
    lists = set(_lists(config))
    found: list[str] = []
    option = first
    if first and argv and not _is_option(argv[0]):
        found.append(first)
    for word in argv:
        if _is_option(word):
            option, equals, value = word.partition("=")
            if not equals or option not in lists | ANY_CASE:
                found.append(word)
                continue
            found.append(option)
            word = value
        word = word.lower() if option in ANY_CASE else word
        found += [part for part in word.split(",") if part] if option in lists else [word]
    return found


def _is_option(word: str) -> bool:
    return word.startswith("-") and not re.match(r"-\d", word)


def _lists(config: Any) -> Iterator[str]:
    """Options that take several values: fields that are tuples, of a dataclass and of those in its fields."""
    for field, hint in ((field, get_type_hints(config)[field.name]) for field in fields(config)):
        if is_dataclass(hint):
            yield from _lists(hint)
        elif "tuple" in str(hint) and not any(is_dataclass(one) for one in get_args(hint)):
            yield f"--{field.name.replace('_', '-')}"
            if field.name == "seeds":
                yield "--seed"


def complaint(text: str, argv: Sequence[str]) -> str:
    """What tyro printed about the words `argv`, in one line that names the word and what would be right."""
    lines = [line.strip("│| ") for line in text.splitlines()[1:]]  # without the title
    lines = ["" if re.fullmatch("[╭╮╰╯─+-]*", line) else line for line in lines]
    while lines and not lines[0]:
        del lines[0]
    if wrong := re.match(r"Unrecognized options: ([^\s,]+)", lines[0]):
        meant = [line.split()[0] for line in lines if line.startswith("--")]
        if not _is_option(wrong[1]):
            return f"{wrong[1]}: not expected here"
        return f"{wrong[1]}: no such option" + (f"; did you mean {' or '.join(meant[:2])}?" if meant else "")
    if wrong := re.match(r"Error parsing (--[\w-]+)(?:/(--[\w-]+))?:", lines[0]):
        name = next((option for option in wrong.groups() if option in argv), wrong[1])
        given = _values(argv, name)
        helped = next((line for line in lines if line.startswith(f"{wrong[1]} ")), "")
        kind = next((text for name, text in _KINDS.items() if re.search(rf"\b{name}\b", helped)), "")
        if kind:
            right = f"{kind}s" if "..." in helped else f"a {kind}"
            return f"{' '.join([name, *given])}: give {right}"
    reason = lines[: lines.index("")] if "" in lines else lines
    return " ".join(reason)


def _values(argv: Sequence[str], option: str) -> list[str]:
    found, reading = [], False
    for word in argv:
        reading = word == option if _is_option(word) else reading
        if reading and word != option:
            found.append(word)
    return found
