"""Linear chains of tags (conditional random fields) under a scheme's constraints: marginals and the best sequence.

Exact, and cheap enough to serve:

- Inside a word every move is given, so the chain runs over words instead of pieces, and one matrix has all moves.
- All sentences of a batch, read forwards and backwards, go through one loop over positions (`onoma.words.Packing`).
- The loop multiplies probabilities; where a float could not hold their range, it adds logarithms instead.
- The best sequence has no tag that is less likely than some whole sequence, such as that of the likeliest tags. That
  leaves few tags in few words, and the search for it is short.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onoma.labels import LabelSet
from onoma.words import Packing, Words

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

_RESCALED = 16  # steps after which a sentence's probabilities are scaled to sum to 1
# While whatever may follow a state keeps this weight, what falls under 1e-308 in a product is lost without a trace.
_LEAST = 1e-150
_TINY = np.finfo(np.float64).tiny
_CERTAIN = 1 - 1e-9  # 1, less what rounding may add


class Chain:
    """A linear chain over the C tags of a label set, whose sequences all obey its scheme and keep words whole.

    It has S states for a word: the C tags of its first piece, and, for words of several pieces, each tag once more for
    every other tag that the last piece may have: I-X after B-X. Potentials, marginals and what is decided by them
    (`decode`, `log_probabilities`) are for IOB2; `best` is for every scheme.

    :param transitions: (C, C) log potential of the column's tag after the row's; None for none.
    :param start: (C,) of a sentence's first tag; `end` (C,) of its last one.
    :param temperature: all potentials are divided by it.
    """

    def __init__(
        self,
        labels: LabelSet,
        *,
        transitions: Sequence[Sequence[float]] | None = None,
        start: Sequence[float] | None = None,
        end: Sequence[float] | None = None,
        temperature: float = 1.0,
    ) -> None:
        width = len(labels.tags)
        moves, first, last = (
            np.zeros(shape) if given is None else np.array(given, dtype=np.float64) / temperature
            for given, shape in ((transitions, (width, width)), (start, width), (end, width))
        )
        within, allowed = labels.within, labels.legal_within
        stays = allowed.diagonal()  # whether a word of several pieces may have the tag throughout
        opens, closes = (allowed & ~np.eye(width, dtype=np.bool_)).nonzero()
        self._temperature = temperature
        self._within, self._stayed = within, moves[within, within]  # (C,) from a word's second piece on
        self._first = np.concatenate([np.arange(width), opens])  # (S,) tag of a word's first piece
        self._rest = within[self._first]  # (S,) tag of its other pieces
        self._last = ends = np.concatenate([np.arange(width), closes])  # (S,) tag of its last piece
        self._closing = width + (closes != within[opens]).nonzero()[0]  # states whose last piece has a tag of its own
        self._tags = np.stack([self._first, self._rest])
        self._same = (self._rest[:, None] == self._rest).astype(np.float64)
        self._width = states = len(ends)
        # (2, S) for words of one piece and of several: which states there are, and what the second piece adds.
        self._inner = np.zeros((2, states))
        self._inner[0, width:] = -np.inf
        self._inner[1, :width][~stays] = -np.inf
        self._inner[1] += (moves[np.arange(width), within] - self._stayed)[self._first]
        self._moves = _best_is_0(moves[ends][:, self._first], labels.legal[ends][:, self._first])  # (S, S)
        self._start = _best_is_0(first[self._first], labels.legal_start[self._first])  # (S,)
        self._end = _best_is_0(last[ends], labels.legal_end[ends])  # (S,)
        # Both directions beside each other, (2S, 2S) and (2S,).
        none = np.full((states, states), -np.inf)
        self._log_both = np.block([[self._moves, none], [none, self._moves.T]])
        self._log_edges = np.concatenate([self._start, self._end])
        self._both, self._edges = np.exp(self._log_both), np.exp(self._log_edges)
        # What `_search` reads: moves to each state from each other and, last, from nothing.
        self._moves_after = np.vstack([self._moves, self._start])
        self._moves_to = self._moves_after.T.tolist()
        self._end_of = self._end.tolist()

    def decode(self, emissions: Floats, words: Words) -> tuple[Ints, Doubles]:
        """As `onoma.decode.Decoder` says; the probability of a tag is its marginal."""
        scores = self._scores(emissions, words)
        marginals, partition = self._forward_backward(scores, words)
        states: Ints = marginals.argmax(axis=1)
        self._improve(states, scores, marginals, partition, words)
        first = marginals[np.arange(len(states)), states]
        if len(first) == len(emissions):
            tags, chances = self._first[states], first
        else:
            rest = (marginals * self._same[states]).sum(axis=1)
            tags = self._tags_of(states, words)
            chances = np.where(words.continues, rest[words.of_piece], first[words.of_piece])
        np.maximum(chances, _TINY, out=chances)
        np.minimum(chances, 1.0, out=chances)
        return tags, np.log(chances)

    def log_probabilities(self, emissions: Floats, words: Words) -> Doubles:
        """As `onoma.decode.Decoder` says: marginals, none under 1e-308."""
        marginals, _ = self._forward_backward(self._scores(emissions, words), words)
        columns = np.eye(emissions.shape[1])
        first, rest = (marginals @ columns[tags] for tags in self._tags)
        chances = np.where(words.continues[:, None], rest[words.of_piece], first[words.of_piece])
        logs: Doubles = np.log(np.clip(chances, _TINY, 1.0))
        return logs

    def best(self, emissions: Floats, words: Words) -> Ints:
        """(N,) the best sequence of each sentence, from logits (N, C)."""
        scores = self._scores(emissions, words)
        # No score is over 0, so a sequence is never over any of its states.
        states: Ints = scores.argmax(axis=1)
        self._improve(states, scores, np.exp(scores), np.zeros(len(words.begins)), words)
        return self._tags_of(states, words)

    def _tags_of(self, states: Ints, words: Words) -> Ints:
        """(N,) tags of the pieces, from the states (W,) of their words."""
        tags: Ints = self._tags[words.continues.view(np.int8), states[words.of_piece]]
        if len(self._closing):
            tags[words.last_pieces] = self._last[states]
        return tags

    def _scores(self, emissions: Floats, words: Words) -> Doubles:
        """(W, S) log potential of the states of each word: 0 for its best, -inf for those that it cannot be in."""
        scores = emissions.astype(np.float64)
        if self._temperature != 1.0:
            scores /= self._temperature
        if len(words.first_pieces) < len(scores):
            inner = scores.take(self._within, axis=1)
            inner += self._stayed
            pieces, closing = scores, self._closing
            scores = np.where(words.continues[:, None], inner, scores)
            scores = np.add.reduceat(scores, words.first_pieces, axis=0)
            scores = scores.take(self._first, axis=1)
            if len(closing):
                last = pieces.take(words.last_pieces, axis=0)
                scores[:, closing] += last.take(self._last[closing], axis=1) - last.take(self._rest[closing], axis=1)
        else:
            scores = scores.take(self._first, axis=1)
        scores += self._inner.take(words.several, axis=0)
        scores -= scores.max(axis=1, keepdims=True)
        return scores

    def _forward_backward(self, scores: Doubles, words: Words) -> tuple[Doubles, Doubles]:
        """Marginals (W, S) and log partition (B,)."""
        packing = Packing.of(words)
        found = self._multiplied(np.exp(scores), packing) or self._added(scores, packing)
        if len(words.begins) == 1:
            return found
        marginals, partition = np.empty_like(scores), np.empty(len(words.begins))
        marginals[packing.forward], partition[packing.sentences] = found
        return marginals, partition

    def _multiplied(self, weights: Doubles, packing: Packing) -> tuple[Doubles, Doubles] | None:
        """Marginals (W, S) and log partition (B,) in the order of the packing; None where a float's range does not do.

        :param weights: (W, S) potentials of the states.
        """
        states, both, steps = self._width, self._both, packing.steps
        weights = np.concatenate([weights[packing.forward], weights[packing.backward]], axis=1)
        before, after = np.empty_like(weights), np.empty_like(weights)  # a word's own weight is multiplied in
        count = steps[0][1]
        scales = np.zeros(count)
        before[:count] = self._edges
        np.multiply(before[:count], weights[:count], out=after[:count])
        rows: Iterable[tuple[Doubles, ...]]
        if count == 1:  # most requests: a row each step, and rows come cheaper than slices
            rows = zip(after, before[1:], weights[1:], after[1:], strict=False)
        else:
            rows = (
                (after[last : last + count], *(array[low : low + count] for array in (before, weights, after)))
                for (last, _), (low, count) in pairwise(steps)
            )
        for step, (left, now, own, product) in enumerate(rows, 1):
            if step % _RESCALED == 0:
                parts = left.reshape(-1, 2, states)
                totals = np.maximum(parts.sum(axis=2, keepdims=True), _TINY)
                parts /= totals
                scales[: len(totals)] += np.log(totals[:, 0, 0])
            left.dot(both, out=now)
            np.multiply(now, own, out=product)
        following = before[packing.turned, states:]
        marginals = after[:, :states] * following
        totals = marginals.sum(axis=1, keepdims=True)
        if not (following.min() > _LEAST and totals.min() > _LEAST):
            return None
        marginals /= totals
        return marginals, np.log(totals[packing.lasts, 0]) + scales

    def _added(self, scores: Doubles, packing: Packing) -> tuple[Doubles, Doubles]:
        """As `_multiplied`, from log potentials (W, S) of any range."""
        states, steps = self._width, packing.steps
        scores = np.concatenate([scores[packing.forward], scores[packing.backward]], axis=1)
        before, after = np.empty_like(scores), np.empty_like(scores)
        low, count = steps[0]
        before[:count] = self._log_edges
        after[:count] = before[:count] + scores[:count]
        for step in range(1, len(steps)):
            previous, (low, count) = low, steps[step]
            left, rows = after[previous : previous + count], slice(low, low + count)
            before[rows] = np.logaddexp.reduce(left[:, :, None] + self._log_both, axis=1)
            after[rows] = before[rows] + scores[rows]
        marginals = after[:, :states] + before[packing.turned, states:]
        totals = np.logaddexp.reduce(marginals, axis=1, keepdims=True)
        return np.exp(marginals - totals), totals[packing.lasts, 0]

    def _improve(self, states: Ints, scores: Doubles, limits: Doubles, partition: Doubles, words: Words) -> None:
        """Turn the states (W,) with the highest limits into the best sequence of each sentence.

        The best one has no state whose limit is under what any sequence is worth. That leaves most words one state, and
        the search goes over the few others, between those.

        :param limits: (W, S) what no sequence through a state exceeds, if it is worth exp(score - log partition).
        """
        firsts = words.first_words
        before = np.empty_like(states)
        before[1:] = states[:-1]
        before[firsts] = self._width
        gains = scores[np.arange(len(states)), states]
        gains += self._moves_after[before, states]
        totals = np.add.reduceat(gains, firsts)
        totals += self._end[states[words.last_words]]
        totals -= partition
        worth = np.exp(totals)
        if not worth.all():  # one that is not legal says nothing of others
            for sentence in (worth == 0).nonzero()[0].tolist():
                low = int(firsts[sentence])
                rows = slice(low, low + int(words.lengths[sentence]))
                states[rows] = self._best_of_one(scores[rows], limits[rows], float(partition[sentence]))
                worth[sentence] = math.inf
        worth *= _CERTAIN
        candidates = limits >= (worth if len(worth) == 1 else worth.repeat(words.lengths)[:, None])
        unsure = (np.count_nonzero(candidates, axis=1) > 1).nonzero()[0].tolist()
        if not unsure:
            return
        begins = {*firsts.tolist(), len(states)}
        low = high = unsure[0]
        for word in [*unsure, -1]:
            if word == high and (word == low or word not in begins):
                high += 1
                continue
            left = self._width if low in begins else int(states[low - 1])
            right = None if high in begins else int(states[high])
            _, states[low:high] = self._search(scores[low:high], candidates[low:high], left, right)
            low, high = word, word + 1

    def _best_of_one(self, scores: Doubles, limits: Doubles, partition: float) -> list[int]:
        """(T,) the best sequence of one sentence; the limits say where to look for it first."""
        guess = float(np.log(limits.max(axis=1)).sum())  # what it would be worth if words were independent
        for least in (guess - 1, guess - 5, -math.inf):
            score, found = self._search(scores, ~(limits < math.exp(least)), self._width, None)
            if score - partition >= least:
                break
        return found

    def _search(
        self, scores: Doubles, candidates: Bools, left: int, right: int | None
    ) -> tuple[float, list[int]]:
        """Viterbi's algorithm for words in a row, among some states (T, S) of each: score and states (T,).

        :param left: the state before them, S for none; `right` the one after them, None for the end.
        """
        places, states = candidates.nonzero()
        choices: list[list[tuple[int, float]]] = [[] for _ in scores]
        for place, state, score in zip(places.tolist(), states.tolist(), scores[candidates].tolist(), strict=True):
            choices[place].append((state, score))
        # The best way to each state of a word: its score, the state, and what it came through, last state first.
        ways: list[tuple[float, int, Any]] = [(0.0, left, None)]
        for own in choices:
            further = []
            for state, score in own:
                moves = self._moves_to[state]
                if len(ways) == 1:
                    total, before, trail = ways[0]
                    total += moves[before]
                else:
                    total, before, trail = max([(way[0] + moves[way[1]], *way[1:]) for way in ways])
                further.append((total + score, state, (before, trail)))
            ways = further
        last = self._end_of if right is None else self._moves_to[right]
        total, state, trail = max([(total + last[state], state, trail) for total, state, trail in ways])
        found = []
        while trail is not None:
            found.append(state)
            state, trail = trail
        return total, found[::-1]


def _best_is_0(scores: Doubles, legal: Bools) -> Doubles:
    """Scores less the best legal one; -inf where they are not legal."""
    return np.where(legal, scores - scores[legal].max(), -np.inf)
