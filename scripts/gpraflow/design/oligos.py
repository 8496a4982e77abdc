"""Oligo pools: designs between primer sites, as CSV for synthesis, and limits of synthesis."""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from gpraflow.core.errors import ConfigError, InputError
from gpraflow.design.constraints import ForbiddenSite, Rule
from gpraflow.sequences.scaffold import tokenize


@dataclass(frozen=True)
class Limits:
    """Limits of an oligo pool: longest oligo in bp, and what the preset adds to the constraints of the designs (0 and 1: nothing)."""

    longest: int
    homopolymer: int = 0
    gc: tuple[float, float] = (0.0, 1.0)


# Lengths are those that each kind of pool is commonly offered in; homopolymers and GC are rules of thumb that avoid failed syntheses.
# Providers change their limits: give yours with design.oligos.max_length and the keys of the constraints.
PRESETS = {
    "none": Limits(0),
    "pool_200": Limits(200, 10, (0.25, 0.65)),
    "pool_250": Limits(250, 10, (0.25, 0.65)),
    "pool_300": Limits(300, 10, (0.25, 0.65)),
}


@dataclass(frozen=True)
class Pool:
    """How a design becomes an oligo.

    Attributes
    ----------
    forward, reverse
        Primer sites before and after the design, both 5' to 3' on the strand of the design.
    with_flanks
        Whether the oligo holds the flanks of the construct, or the insert only.
    longest
        Longest oligo, in bp; 0 for no limit.
    """

    forward: str = ""
    reverse: str = ""
    with_flanks: bool = True
    longest: int = 0


def pool_of(preset: str, forward: str, reverse: str, with_flanks: bool, max_length: int) -> Pool:
    """Return the pool that options or keys of the config describe; ``max_length`` 0 takes that of the preset.

    Raises
    ------
    ConfigError
        If a primer site has other letters than A, C, G and T.
    """
    for key, site in {"forward": forward, "reverse": reverse}.items():
        if bad := set(site.upper()) - set("ACGT"):
            raise ConfigError(f"design.oligos.{key}: found {''.join(sorted(bad))} in {site}, expected a sequence of A, C, G and T")
    return Pool(forward.upper(), reverse.upper(), with_flanks, max_length or PRESETS[preset].longest)


def check_length(pool: Pool, insert: int, flanks: tuple[str, str]) -> None:
    """Check that oligos are not too long for the pool, before any design is made.

    Raises
    ------
    InputError
        If they are.
    """
    parts = {"primer sites": len(pool.forward) + len(pool.reverse), "insert": insert}
    parts |= {"flanks": sum(map(len, flanks))} if pool.with_flanks else {}
    if pool.longest and (length := sum(parts.values())) > pool.longest:
        listed = ", ".join(f"{name} {size} bp" for name, size in parts.items())
        raise InputError(
            f"design.oligos: oligos would have {length} bp ({listed}), more than the pool's {pool.longest} bp; shorten the design or the "
            "primer sites, leave out the flanks (design.oligos.with_flanks: false), or order longer oligos"
        )


def oligo(pool: Pool, inserts: pl.Series, flanks: tuple[str, str]) -> pl.Series:
    """Return the oligo of each insert."""
    five, three = flanks if pool.with_flanks else ("", "")
    whole = pl.lit(pool.forward + five) + pl.col("s") + pl.lit(three + pool.reverse)
    return inserts.to_frame("s").select(whole.alias("oligo")).to_series()


def new_sites(pool: Pool, oligos: pl.Series, rules: Sequence[Rule]) -> list[list[str]]:
    """Return the forbidden sites that an oligo has although its design has none: at the joints of primer sites or without flanks.

    Sites that lie in a primer site itself, such as that of the enzyme which cuts the primers off, are wanted and do not count.

    Returns
    -------
    list of list of str
        Labels of the sites, for each oligo.
    """
    found: list[list[str]] = [[] for _ in range(len(oligos))]
    for rule in rules:
        if not isinstance(rule, ForbiddenSite) or not len(oligos):
            continue
        own = sum(int(rule.violations(tokenize(pl.Series([site]), len(site)))[0]) for site in (pool.forward, pool.reverse) if site)
        for length in oligos.str.len_bytes().unique():
            rows = (oligos.str.len_bytes() == length).arg_true()
            counts = rule.violations(tokenize(oligos[rows], length))
            for row, count in zip(rows, counts, strict=True):
                if count > own:
                    found[row].append(rule.label)
    return found


def pool_table(names: pl.Series, inserts: pl.Series, pool: Pool, flanks: tuple[str, str]) -> pl.DataFrame:
    """Return the table to order: ``name``, ``oligo`` (5' to 3') and ``length`` in bp."""
    whole = oligo(pool, inserts, flanks)
    return pl.DataFrame({"name": names, "oligo": whole, "length": whole.str.len_bytes().cast(pl.Int64)})
