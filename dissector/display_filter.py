# SPDX-License-Identifier: GPL-2.0-or-later
"""Wireshark-style display filters over records: ``libxc.page_data.count > 100 and not direction == reverse``.

A comparison with a field that a record does not have is false, as in Wireshark; one with a name that no record has is
an error. The grammar, loosest first::

    or  := and {("or" | "||") and}
    and := not {("and" | "&&") not}
    not := ("not" | "!") not | "(" or ")" | test
    test := FIELD ["&" value] [operator value | ["not"] "in" "{" value [".." value] {"," …} "}"]
"""

from __future__ import annotations

import operator
import re
import warnings
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn, TypeAlias

from dissector import filter_fields
from dissector.filter_fields import FilterField, UnknownFieldError
from dissector.filter_values import Use, ValueTextError, literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dissector.wire.events import Record

Test: TypeAlias = "Callable[[Record], bool]"

MAX_DEPTH: Final = 64
"""Deepest nesting of parentheses and negations."""

_TOKEN: Final = re.compile(
    r"""(?P<string>"(?:[^"\\]|\\.)*")
      | (?P<symbol>==|!=|>=|<=|&&|\|\||\.\.|[<>!(){},&~])
      | (?P<word>\w+(?:[.:+-]\w+)*)""",
    re.VERBOSE,
)
_COMPARISONS: Final = {
    "==": "==", "eq": "==", "!=": "!=", "ne": "!=", ">": ">", "gt": ">", ">=": ">=", "ge": ">=",
    "<": "<", "lt": "<", "<=": "<=", "le": "<=", "contains": "contains", "matches": "matches", "~": "matches",
}  # fmt: skip
_ORDER: Final[dict[str, Callable[[Any, Any], bool]]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}


class FilterError(ValueError):
    """A filter that can not be understood; one line that shows the place.

    Attributes:
        position: index into the text where the trouble begins.
    """

    def __init__(self, message: str, text: str, position: int, length: int = 0, hint: str = "") -> None:
        line = "".join(char if char.isprintable() else " " for char in text)
        end = position + length
        before, here, behind = line[max(0, position - 40) : position], line[position:end], line[end : end + 40]
        place = f"at column {position + 1}: {before}[[{here}]]{behind}"
        super().__init__(f"{message}, {place}{f' ({hint})' if hint else ''}")
        self.position = position


class _Token(NamedTuple):
    kind: str
    text: str
    position: int


def compile_filter(text: str) -> Callable[[Record], bool]:
    """Turn a display filter into a test of records.

    Raises:
        FilterError: the filter is not understood, or names something that no record has.
    """
    return _Parser(text).parse()


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = list(self._tokens())
        self.at = 0
        self.depth = 0

    def _tokens(self) -> Iterator[_Token]:
        position = 0
        while position < len(self.text):
            if self.text[position].isspace():
                position += 1
                continue
            match = _TOKEN.match(self.text, position)
            if match is None:
                char = self.text[position]
                what = "a string without its closing quote" if char == '"' else f"unexpected character {char!r}"
                raise FilterError(what, self.text, position, 1)
            yield _Token(match.lastgroup or "", match.group(), position)
            position = match.end()
        yield _Token("end", "", position)

    # -- tokens ------------------------------------------------------------------------------------------------------

    def _fail(self, message: str, token: _Token, hint: str = "") -> NoReturn:
        raise FilterError(message, self.text, token.position, len(token.text), hint)

    def _take(self) -> _Token:
        token = self.tokens[self.at]
        if token.kind != "end":
            self.at += 1
        return token

    def _accept(self, *texts: str) -> _Token | None:
        """Take the next token if it is one of these symbols or words."""
        token = self.tokens[self.at]
        if token.kind != "string" and token.text.lower() in texts:
            return self._take()
        return None

    def _expect(self, text: str) -> None:
        if self._accept(text) is None:
            token = self.tokens[self.at]
            self._fail(f"expected {text!r}" + (f", not {token.text!r}" if token.text else ""), token)

    # -- grammar -----------------------------------------------------------------------------------------------------

    def parse(self) -> Test:
        if self.tokens[0].kind == "end":
            self._fail("the filter is empty", self.tokens[0])
        test = self._or()
        token = self.tokens[self.at]
        if token.kind != "end":
            self._fail(f"expected 'and' or 'or', not {token.text!r}", token)
        return test

    def _or(self) -> Test:
        tests = [self._and()]
        while self._accept("or", "||"):
            tests.append(self._and())
        return tests[0] if len(tests) == 1 else lambda record: any(test(record) for test in tests)

    def _and(self) -> Test:
        tests = [self._not()]
        while self._accept("and", "&&"):
            tests.append(self._not())
        return tests[0] if len(tests) == 1 else lambda record: all(test(record) for test in tests)

    def _not(self) -> Test:
        token = self.tokens[self.at]
        self.depth += 1
        if self.depth > MAX_DEPTH:
            self._fail(f"more than {MAX_DEPTH} levels of parentheses", token)
        try:
            if self._accept("not", "!"):
                inner = self._not()
                return lambda record: not inner(record)
            if self._accept("("):
                inner = self._or()
                self._expect(")")
                return inner
            return self._test()
        finally:
            self.depth -= 1

    def _test(self) -> Test:
        field = self._field()
        values = field.values
        if self._accept("&"):
            mask = self._number(field)
            values = lambda record: [value & mask for value in field.values(record)]  # noqa: E731
        token = self.tokens[self.at]
        word = token.text.lower()
        if token.kind != "string" and word in _COMPARISONS:
            self._take()
            if field.kind == "presence":
                self._fail(f"{field.name} has no value of its own to compare with; ask for one of its fields", token)
            return self._comparison(field, values, _COMPARISONS[word], token)
        if self._accept("in"):
            return self._membership(field, values)
        if word == "not" and self.tokens[self.at + 1].text.lower() == "in":
            self.at += 2
            inside = self._membership(field, values)
            return lambda record: bool(values(record)) and not inside(record)
        if values is not field.values:
            return lambda record: any(values(record))
        if field.kind == "bool":
            return lambda record: any(values(record))
        return lambda record: bool(values(record))

    def _field(self) -> FilterField:
        token = self._take()
        if token.kind != "word":
            self._fail(f"expected a field name{f', not {token.text!r}' if token.text else ''}", token)
        try:
            return filter_fields.find(token.text)
        except UnknownFieldError as error:
            hint = f"did you mean {' or '.join(error.suggestions)}?" if error.suggestions else ""
            self._fail(str(error), token, hint)

    def _value(self, field: FilterField, use: Use = "whole") -> Any:
        token = self._take()
        if token.kind not in ("word", "string"):
            self._fail(f"expected a value{f', not {token.text!r}' if token.text else ''}", token)
        try:
            return literal(field, token.text, use)
        except ValueTextError as error:
            self._fail(str(error), token, error.hint)

    def _number(self, field: FilterField) -> int:
        token = self.tokens[self.at]
        if field.kind != "number":
            self._fail(f"{field.name} is no number, '&' can not be used on it", token)
        return int(self._value(field))

    def _comparison(self, field: FilterField, values: Any, comparison: str, token: _Token) -> Test:
        if comparison in ("contains", "matches"):
            if field.kind not in ("text", "bytes") or (comparison == "matches" and field.kind == "bytes"):
                self._fail(f"{field.name} is no text, {token.text!r} can not be used on it", token)
            return self._search(field, values, comparison)
        if comparison in _ORDER and field.kind not in ("number", "time"):
            self._fail(f"{field.name} is no number, {token.text!r} can not be used on it", token)
        wanted = self._value(field)
        if comparison == "==":
            return lambda record: wanted in values(record)
        if comparison == "!=":
            # As in Wireshark 4: all of the values differ, and there is one.
            return lambda record: bool(found := values(record)) and wanted not in found
        compare = _ORDER[comparison]

        def test(record: Record) -> bool:
            for value in values(record):  # noqa: SIM110  any() would make a generator for each record
                if compare(value, wanted):
                    return True
            return False

        return test

    def _search(self, field: FilterField, values: Any, comparison: str) -> Test:
        token = self.tokens[self.at]
        wanted = self._value(field, "part" if comparison == "contains" else "pattern")
        if comparison == "contains":
            return lambda record: any(wanted in value for value in values(record))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what a later Python might read in another way
                pattern = re.compile(wanted, re.IGNORECASE)
        except (re.error, OverflowError) as error:
            self._fail(f"no valid regular expression: {getattr(error, 'msg', error)}", token)
        except RecursionError:
            self._fail("no valid regular expression: nested too deeply", token)
        return lambda record: any(pattern.search(value) for value in values(record))

    def _membership(self, field: FilterField, values: Any) -> Test:
        if field.kind == "presence":
            self._fail(f"{field.name} has no value of its own to compare with", self.tokens[self.at])
        self._expect("{")
        single: list[Any] = []
        ranges: list[tuple[Any, Any]] = []
        while True:
            token = self.tokens[self.at]
            low = self._value(field)
            if self._accept(".."):
                if field.kind not in ("number", "time"):
                    self._fail(f"{field.name} is no number, it has no ranges", token)
                high = self._value(field)
                if high < low:
                    self._fail("a range that ends before it begins", token)
                ranges.append((low, high))
            else:
                single.append(low)
            self._accept(",")
            if self._accept("}"):
                break
        return lambda record: any(
            value in single or any(low <= value <= high for low, high in ranges) for value in values(record)
        )
