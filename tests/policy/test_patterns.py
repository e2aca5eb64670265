"""Globs and regular expressions over names: what they match, what is refused, and that none can hang."""

from __future__ import annotations

import fnmatch
import re
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amctc.policy.pattern_syntax import PatternError
from amctc.policy.patterns import LONGEST_NAME, glob, regex

ATOMS = st.sampled_from(["a", "b", ".", "[ab]", "[^a]", "[a-c1]", r"\d", r"\w", r"\.", "1", r"[\d_]"])
EXPRESSIONS: st.SearchStrategy[str] = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda pair: f"(?:{pair[0]}|{pair[1]})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{1,2}", "{,2}", "{1,}", "*?"])).map(
            lambda pair: f"({pair[0]}){pair[1]}"
        ),
    ),
    max_leaves=8,
)
NAMES = st.text("abc1._/", max_size=8)


@given(EXPRESSIONS, st.lists(NAMES, min_size=1, max_size=10))
def test_a_regular_expression_matches_what_pythons_matches(expression: str, names: list[str]) -> None:
    try:
        pattern = regex(expression)
    except PatternError:
        assert len(expression) > 200 or expression.count("(") > 40
        return
    for name in names:
        assert pattern.matches(name) == (re.fullmatch(expression, name, re.DOTALL) is not None), name


@given(st.text("ab.*?[]{}()|+\\^$-1w,", max_size=9), NAMES)
def test_any_text_is_refused_or_means_what_python_says(text: str, name: str) -> None:
    try:
        pattern = regex(text)
    except PatternError as problem:
        assert str(problem)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        theirs = re.compile(text, re.DOTALL)
    assert pattern.matches(name) == (theirs.fullmatch(name) is not None)


@given(st.lists(st.sampled_from([*"ab*?/_", "[ab]", "[!a]", "[a-c]"]), min_size=1).map("".join), NAMES)
def test_a_glob_matches_what_pythons_matches(text: str, name: str) -> None:
    assert glob(text).matches(name) == fnmatch.fnmatchcase(name, text)


@pytest.mark.parametrize(
    ("text", "yes", "no"),
    [
        ("res2*_branch2?", "res2a_branch2b", "res2a_branch2"),
        ("inception_??/*", "inception_3a/1x1", "inception_3a"),
        ("conv[0-9]", "conv7", "conv10"),
        ("conv[!0-9]", "conv_", "conv1"),
        ("a[[]b", "a[b", "ab"),
        ("a.c", "a.c", "abc"),
    ],
)
def test_a_glob_covers_the_whole_name(text: str, yes: str, no: str) -> None:
    pattern = glob(text)
    assert pattern.matches(yes)
    assert not pattern.matches(no)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "it is empty"),
        ("a" * 201, "201 characters, of 200"),
        ("conv[0", "a `[` is not closed"),
        ("(a", "a `(` is not closed"),
        ("a)", "a `)` closes nothing"),
        ("*a", "nothing before `*`"),
        ("a**", "a repetition follows a repetition"),
        ("a*+", "a repetition follows a repetition"),
        ("a{3,2}", "`{3,2}` ends below its begin"),
        ("(?=a)b", "groups that begin with `(?`"),
        ("(?i)a", "groups that begin with `(?`"),
        (r"(a)\1", r"`\1` is not supported"),
        (r"\bconv", r"`\b` is not supported"),
        ("a$b", "`$` stands inside"),
        ("a\\", "it ends with"),
        ("[b-a]", "bad character range"),
        ("[a--]", "`--` may not stand"),
        ("(.{0,70}){0,70}", "it repeats too much"),
        ("(((a{0}){9999}){9999}){9999}", "it repeats too much"),
        ("(" * 60 + "a" + ")" * 60, "nested too deep"),
    ],
)
def test_a_regular_expression_that_is_wrong_is_refused(text: str, words: str) -> None:
    with pytest.raises(PatternError) as caught:
        regex(text)
    assert words in str(caught.value)


@pytest.mark.parametrize(("text", "words"), [("", "it is empty"), ("a[b", "`[` is not closed"), ("[z-a]", "range")])
def test_a_glob_that_is_wrong_is_refused(text: str, words: str) -> None:
    with pytest.raises(PatternError) as caught:
        glob(text)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "text", ["(a+)+b", "(a|a)*b", "(.*a){15}b", ".*.*.*.*.*.*.*.*.*.*b", "(a?){60}" + "a" * 60 + "b", "(a*)*b"]
)
def test_what_makes_other_matchers_hang_does_not_take_long(text: str) -> None:
    # A matcher that tries one way after the other would not end before the test run does.
    assert not regex(text).matches("a" * LONGEST_NAME)


def test_a_name_that_is_too_long_matches_nothing() -> None:
    assert glob("*").matches("a" * LONGEST_NAME)
    assert not glob("*").matches("a" * (LONGEST_NAME + 1))


def test_answers_do_not_depend_on_what_was_asked_before() -> None:
    pattern = regex("(a|b)*a(a|b){12}")
    names = [f"{number:014b}".replace("0", "a").replace("1", "b") for number in range(0, 2**14, 7)]
    first = [pattern.matches(name) for name in names]
    assert first == [name[1] == "a" for name in names]
    assert [pattern.matches(name) for name in reversed(names)] == first[::-1]
