"""Connected components of rows, found while links between them are added."""

from collections.abc import Iterator
from typing import Any

import numpy as np

_BLOCK_ROWS = 1_000_000


class Components:
    """Groups of linked rows, named after their first row (union-find on arrays); 4 bytes a row.

    Parameters
    ----------
    rows
        Number of rows.
    """

    def __init__(self, rows: int):
        self._above = np.arange(rows, dtype=np.uint32)  # a row of the same component; of the first one, itself

    def of(self, rows: Any) -> np.ndarray:
        """Return the first row of each row's component, uint32; ``rows`` are indices or a slice."""
        found = self._above[rows]
        while not np.array_equal(above := self._above[found], found):
            found = above
        self._above[rows] = above
        return above

    def link(self, a: np.ndarray, b: np.ndarray) -> None:
        """Link rows ``a[i]`` and ``b[i]``."""
        for begin in range(0, len(a), _BLOCK_ROWS):
            self._link(self.of(a[begin : begin + _BLOCK_ROWS]), self.of(b[begin : begin + _BLOCK_ROWS]))

    def _link(self, a: np.ndarray, b: np.ndarray) -> None:
        """Link the first rows of components."""
        apart = a != b
        if not apart.any():
            return
        from scipy import sparse  # local import: slow, and not needed for predictions

        nodes, place = np.unique(np.stack([a[apart], b[apart]]), return_inverse=True)
        place = place.reshape(2, -1)
        links = sparse.coo_array((np.ones(place.shape[1], bool), (place[0], place[1])), shape=(len(nodes), len(nodes)))
        _, of = sparse.csgraph.connected_components(links, directed=False)
        _, first = np.unique(of, return_index=True)  # nodes are in ascending order
        self._above[nodes] = nodes[first[of]]

    def first(self) -> np.ndarray:
        """Return the first row of each row's component, uint32."""
        for block in self._blocks():
            self.of(block)
        return self._above

    def are_first(self) -> np.ndarray:
        """Return which rows are the first of their component, bool."""
        found = np.empty(len(self._above), bool)
        for block in self._blocks():
            found[block] = self._above[block] == np.arange(block.start, min(block.stop, len(found)))
        return found

    def _blocks(self) -> Iterator[slice]:
        for begin in range(0, len(self._above), _BLOCK_ROWS):
            yield slice(begin, begin + _BLOCK_ROWS)
