"""From the links of two directions, source to target and back, the links of both together.

``forward`` holds the links that were found with the target on the many side (a translation model's own: each target
word looks at source words), ``backward`` those of the opposite model, both written as (source word, target word): see
:meth:`nmt.links.Links.turned`. Possible links count like sure ones, and what comes out is sure.

Shapes: T target words, S source words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from nmt.links import Link, Links, Matrix

# In this order: which of two neighbours comes first decides whether the other still joins a word without link.
_NEIGHBOURS = ((-1, 0), (0, -1), (1, 0), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1))


def intersection(forward: Links, backward: Links) -> Links:
    """The links that both directions have."""
    return Links(forward.possible & backward.possible)


def union(forward: Links, backward: Links) -> Links:
    """The links that either direction has."""
    return Links(forward.possible | backward.possible)


def grow_diag(forward: Links, backward: Links) -> Links:
    """The intersection, grown by neighbouring links of the union, diagonal ones too, as long as they join a word that
    has no link yet (Och & Ney 2003, section 3.3; Koehn, Och & Marcu 2003, section 3.1).

    The order is that of the pseudo-code published with Moses: target words from the first to the last, for each the
    source words, again from the start until nothing is added.
    """
    return _Growing(forward, backward).grown().links()


def grow_diag_final(forward: Links, backward: Links) -> Links:
    """:func:`grow_diag`, then every link of ``forward``, then of ``backward``, that joins a word without link on
    either side."""
    return _Growing(forward, backward).grown().final(any, forward, backward).links()


def grow_diag_final_and(forward: Links, backward: Links) -> Links:
    """:func:`grow_diag`, then every link of ``forward``, then of ``backward``, between two words without link."""
    return _Growing(forward, backward).grown().final(all, forward, backward).links()


# A way of combining is added by writing its function above and its line here.
SYMMETRISATIONS: dict[str, Callable[[Links, Links], Links]] = {
    "intersection": intersection,
    "grow-diag": grow_diag,
    "grow-diag-final-and": grow_diag_final_and,
    "grow-diag-final": grow_diag_final,
    "union": union,
}


def soft_product(forward_TS: Matrix, backward_ST: Matrix) -> Matrix:
    """The element-wise product of a matrix of attention and that of the opposite direction, (T, S), not renormalised.

    ``backward_ST`` has a row a source word, as the model of the other direction gives it. A link needs weight in both.
    """
    if forward_TS.shape != backward_ST.shape[::-1]:
        raise ValueError(f"matrices of shape {forward_TS.shape} and, of the other direction, {backward_ST.shape}")
    product: Matrix = forward_TS * backward_ST.T
    return product


class _Growing:
    """The links found so far, and the words that have one."""

    def __init__(self, forward: Links, backward: Links) -> None:
        self.found: set[Link] = set()
        self.sources: set[int] = set()
        self.targets: set[int] = set()
        self.union = forward.possible | backward.possible
        for link in forward.possible & backward.possible:
            self._add(link)

    def grown(self) -> _Growing:
        """With the neighbours of what was found. All that is found is in the union, so only its links are visited."""
        order = _by_target(self.union)
        before = -1
        while len(self.found) > before:
            before = len(self.found)
            for i, j in order:
                if (i, j) in self.found:
                    for target_step, source_step in _NEIGHBOURS:
                        near = i + source_step, j + target_step
                        if near in self.union and any(self._unlinked(near)):
                            self._add(near)
        return self

    def final(self, joins: Callable[[Iterable[bool]], bool], *directions: Links) -> _Growing:
        """With those links of each direction that join ``any`` or ``all`` of their two words for the first time."""
        for links in directions:
            for link in _by_target(links.possible):
                if joins(self._unlinked(link)):
                    self._add(link)
        return self

    def links(self) -> Links:
        return Links(self.found)

    def _unlinked(self, link: Link) -> tuple[bool, bool]:
        return link[0] not in self.sources, link[1] not in self.targets

    def _add(self, link: Link) -> None:
        self.found.add(link)
        self.sources.add(link[0])
        self.targets.add(link[1])


def _by_target(links: Iterable[Link]) -> list[Link]:
    return sorted(links, key=lambda link: (link[1], link[0]))
