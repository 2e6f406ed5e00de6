"""What PromQL queries ask for: their metrics and the labels that they look at, by promql-parser."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import promql_parser


@dataclass(frozen=True)
class Selector:
    """A metric in a query.

    :param labels: its matchers, and the labels that an aggregation around it keeps.
    :param functions: those around it, innermost first.
    """

    metric: str
    labels: frozenset[str]
    functions: tuple[str, ...]


def selectors(query: str) -> list[Selector]:
    """Every metric of a query.

    :raises ValueError: if that is no PromQL.
    """
    return list(_walk(promql_parser.parse(query), frozenset(), ()))


def kept(query: str) -> frozenset[str] | None:
    """The labels that a query's result has, where an aggregation or the names of its operands say it; else None."""
    node = promql_parser.parse(query)
    while True:
        if isinstance(node, promql_parser.ParenExpr):
            node = node.expr
        elif isinstance(node, promql_parser.BinaryExpr):
            node = node.lhs
        elif isinstance(node, promql_parser.Call):
            node = node.args[-1]
        else:
            break
    return frozenset(node.modifier.labels) if isinstance(node, promql_parser.AggregateExpr) and node.modifier else None


def _walk(node: Any, labels: frozenset[str], functions: tuple[str, ...]) -> Iterator[Selector]:
    if isinstance(node, promql_parser.VectorSelector):
        matched = {matcher.name for matcher in node.matchers.matchers}
        yield Selector(node.name, frozenset(labels | matched), functions)
    elif isinstance(node, promql_parser.MatrixSelector):
        yield from _walk(node.vector_selector, labels, functions)
    elif isinstance(node, promql_parser.AggregateExpr):
        yield from _walk(node.expr, labels | set(node.modifier.labels if node.modifier else ()), functions)
    elif isinstance(node, promql_parser.Call):
        for argument in node.args:
            yield from _walk(argument, labels, (node.func.name, *functions))
    elif isinstance(node, promql_parser.BinaryExpr):
        for side in (node.lhs, node.rhs):
            yield from _walk(side, labels, functions)
    elif isinstance(node, promql_parser.ParenExpr | promql_parser.UnaryExpr | promql_parser.SubqueryExpr):
        yield from _walk(node.expr, labels, functions)
    else:
        assert isinstance(node, promql_parser.NumberLiteral | promql_parser.StringLiteral), node
