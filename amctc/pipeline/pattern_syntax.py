"""The text of a pattern, read into a tree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final, TypeAlias

from lark import Lark, Token, Tree, UnexpectedInput, UnexpectedToken

from amctc.diagnostics import did_you_mean
from amctc.pipeline.conditions import (
    TRAITS,
    AllOf,
    AnyOf,
    Anything,
    Compares,
    Condition,
    HasTrait,
    Literal,
    Not,
    OfType,
    word,
)
from amctc.text.parsers import parser_of

LONGEST_PATTERN: Final = 2000
MOST_BRANCHES: Final = 4

_DEEPEST = 20  # brackets in brackets


class PatternError(ValueError):
    """A pattern that cannot be read: a mistake of whoever wrote the pass. Columns count from 1."""

    def __init__(self, text: str, column: int, reason: str) -> None:
        self.text = text
        self.column = column
        self.reason = reason
        super().__init__(f"pattern `{text}`, column {column}: {reason}")


@dataclass(frozen=True)
class Join:
    """What the inputs of a step come from; None for a value of whatever layer. `alone`: nobody else reads them."""

    branches: tuple[Chain | None, ...]
    ordered: bool
    alone: bool
    column: int


@dataclass(frozen=True)
class Step:
    """One layer, with a name of its own where it joins branches, which have not that name."""

    condition: Condition
    join: Join | None = None
    named: Token | None = None


@dataclass(frozen=True)
class Chain:
    """Parts one after the other; `alone` says of each but the first whether only it may read the one before."""

    parts: tuple[Part, ...]
    alone: tuple[bool, ...]


@dataclass(frozen=True)
class Choice:
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Repeat:
    part: Part
    optional: bool
    many: bool


@dataclass(frozen=True)
class Named:
    name: Token
    part: Part


Part: TypeAlias = "Step | Chain | Choice | Repeat | Named"


def parse_chain(text: str) -> Chain:
    """The tree of a pattern. Raises `PatternError`."""
    return _Reader(text).read()


@dataclass(frozen=True)
class _Branches:
    """A group with commas, in braces, or with a `.`: only in front of a step."""

    branches: tuple[Chain | None, ...]
    ordered: bool
    column: int


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text

    def read(self) -> Chain:
        self._check_size()
        try:
            tree = _grammar().parse(self._text)
        except UnexpectedInput as mistake:
            token = mistake.token if isinstance(mistake, UnexpectedToken) else None
            if token is not None and token.type == "$END":
                raise self._mistake(len(self._text) + 1, "the pattern ends too early") from None
            raise self._mistake((mistake.pos_in_stream or 0) + 1, "unreadable from here on") from None
        chain = self._chain(_only(_trees(tree)))
        self._check_names(chain)
        return chain

    def _mistake(self, column: int, reason: str) -> PatternError:
        return PatternError(self._text, column, reason)

    def _check_size(self) -> None:
        if len(self._text) > LONGEST_PATTERN:
            raise PatternError(f"{self._text[:40]}…", LONGEST_PATTERN + 1, f"longer than {LONGEST_PATTERN} characters")
        depth = 0
        for column, char in enumerate(self._text, 1):
            depth += (char in "({") - (char in ")}")
            if depth > _DEEPEST:
                raise self._mistake(column, "brackets are nested too deep")
            depth = max(depth, 0)

    def _chain(self, tree: Tree[Token]) -> Chain:
        parts: list[Part] = []
        alone: list[bool] = []
        branches: _Branches | None = None
        for child in tree.children:
            if isinstance(child, Token):
                alone.append(child == "->")
                continue
            element = self._element(child)
            if isinstance(element, _Branches):
                if parts or branches is not None:
                    raise self._mistake(element.column, "nothing may stand before branches")
                branches = element
                continue
            if branches is not None and not parts:
                element = self._joined(element, branches, alone.pop(), _column(child))
            parts.append(element)
        if not parts:
            raise self._mistake(_column(tree), "branches need a step behind them that reads them")
        if _optional(parts[0]):
            raise self._mistake(_column(tree), "the first step of a chain may not be optional")
        return Chain(tuple(parts), tuple(alone))

    def _joined(self, part: Part, branches: _Branches, alone: bool, column: int) -> Part:
        name, step = (part.name, part.part) if isinstance(part, Named) else (None, part)
        if not isinstance(step, Step):
            raise self._mistake(column, "the step behind branches is one layer, without `?`, `*` or `+`")
        return Step(step.condition, Join(branches.branches, branches.ordered, alone, branches.column), name)

    def _element(self, tree: Tree[Token]) -> Part | _Branches:
        name = next((token for token in _tokens(tree) if token.type == "NAME"), None)
        quantity = next((token for token in _tokens(tree) if token.type == "QUANTITY"), None)
        part = self._choice(_only(_trees(tree)))
        if isinstance(part, _Branches):
            if name is not None or quantity is not None:
                raise self._mistake(part.column, "branches have no name and no `?`, `*` or `+`")
            return part
        if quantity is not None:
            part = Repeat(part, quantity in ("?", "*"), quantity in ("*", "+"))
        if name is None:
            return part
        if "." in name or name == "_":
            raise self._mistake(_column(name), f"`{name}` cannot be a name for what matches")
        return Named(name, part)

    def _choice(self, tree: Tree[Token]) -> Part | _Branches:
        trees = _trees(tree)
        if len(trees) == 1:
            return self._both(trees[0])
        parts = [self._unbranched(self._both(child), child) for child in trees]
        if conditions := _conditions(parts):
            return Step(AnyOf(conditions))
        return Choice(tuple(parts))

    def _both(self, tree: Tree[Token]) -> Part | _Branches:
        trees = _trees(tree)
        if len(trees) == 1:
            return self._operand(trees[0])
        return Step(AllOf(tuple(self._condition(self._operand(child), child, "&") for child in trees)))

    def _operand(self, tree: Tree[Token]) -> Part | _Branches:
        if tree.data == "atom":
            return self._atom(tree)
        inner = _only(_trees(tree))
        return Step(Not(self._condition(self._atom(inner), inner, "!")))

    def _atom(self, tree: Tree[Token]) -> Part | _Branches:
        names = _tokens(tree)
        trees = _trees(tree)
        part = Step(self._named(names[0])) if names else self._group(trees[0])
        predicates = [child for child in trees if child.data == "predicates"]
        if not predicates:
            return part
        condition = self._condition(part, tree, "[ ]")
        compared = [self._compares(child, condition) for child in _trees(predicates[0])]
        return Step(AllOf((condition, *compared)))

    def _named(self, name: Token) -> Condition:
        if name == "_":
            return Anything()
        if not name.islower() or "." in name:
            return OfType(str(name))
        if name not in TRAITS:
            help = did_you_mean(name, TRAITS) or f"the traits are {', '.join(TRAITS)}"
            raise self._mistake(_column(name), f"there is no trait `{name}`; {help}")
        return HasTrait(str(name))

    def _group(self, tree: Tree[Token]) -> Part | _Branches:
        ordered = tree.data == "ordered"
        branches = [None if isinstance(child, Token) else self._chain(child) for child in tree.children]
        if ordered and len(branches) == 1 and branches[0] is not None:
            only = branches[0]
            return only.parts[0] if len(only.parts) == 1 else only
        if len(branches) > MOST_BRANCHES:
            raise self._mistake(_column(tree), f"there are {len(branches)} branches, of at most {MOST_BRANCHES}")
        return _Branches(tuple(branches), ordered, _column(tree))

    def _compares(self, tree: Tree[Token], condition: Condition) -> Compares:
        from amctc.pipeline.attribute_check import comparison_mistake  # with Caffe's op table

        name, relation, literal = _tokens(tree)
        compares = Compares(str(name), str(relation), _literal(literal))
        if reason := comparison_mistake(condition, compares):
            raise self._mistake(_column(name), reason)
        return compares

    def _condition(self, part: Part | _Branches, tree: Tree[Token], sign: str) -> Condition:
        if isinstance(part, Step) and part.join is None:
            return part.condition
        raise self._mistake(_column(tree), f"`{sign}` takes what one layer can be, not a chain")

    def _unbranched(self, part: Part | _Branches, tree: Tree[Token]) -> Part:
        if isinstance(part, _Branches):
            raise self._mistake(_column(tree), "branches stand alone; put them and their step in parentheses")
        return part

    def _check_names(self, part: Part) -> Mapping[str, Token]:
        """The names in a part; one may come twice only where no match has both."""
        if isinstance(part, Choice):
            return {name: token for each in part.parts for name, token in self._check_names(each).items()}
        own = part.name if isinstance(part, Named) else part.named if isinstance(part, Step) else None
        found: dict[str, Token] = {} if own is None else {str(own): own}
        for inner in _inner(part):
            names = self._check_names(inner)
            if twice := next((token for name, token in names.items() if name in found), None):
                column = max(_column(twice), _column(found[str(twice)]))
                raise self._mistake(column, f"the name `{twice}` is given twice")
            found |= names
        return found


def _inner(part: Part) -> Sequence[Part]:
    if isinstance(part, Step):
        return [branch for branch in part.join.branches if branch is not None] if part.join is not None else []
    return part.parts if isinstance(part, Chain | Choice) else (part.part,)


def _optional(part: Part) -> bool:
    if isinstance(part, Repeat):
        return part.optional or _optional(part.part)
    return isinstance(part, Named) and _optional(part.part)


def _conditions(parts: Sequence[Part]) -> tuple[Condition, ...]:
    """The conditions of parts that are all steps without branches; else none."""
    found = tuple(part.condition for part in parts if isinstance(part, Step) and part.join is None)
    return found if len(found) == len(parts) else ()


def _literal(token: Token) -> Literal:
    if token.type == "STRING":
        return str(token[1:-1])
    if token.type == "NAME":
        return word(str(token))
    try:
        return int(token)
    except ValueError:
        return float(token)


def _trees(tree: Tree[Token]) -> list[Tree[Token]]:
    return [child for child in tree.children if isinstance(child, Tree)]


def _tokens(tree: Tree[Token]) -> list[Token]:
    return [child for child in tree.children if isinstance(child, Token)]


def _only(trees: Sequence[Tree[Token]]) -> Tree[Token]:
    (tree,) = trees
    return tree


def _column(place: Tree[Token] | Token) -> int:
    start = place.start_pos if isinstance(place, Token) else place.meta.start_pos
    return (start or 0) + 1


@cache
def _grammar() -> Lark:
    return parser_of("pattern", propagate_positions=True)
