"""Hard constraints on designed constructs: forbidden and required sites and motifs, GC content, homopolymers, repeats.

Each rule is checked on the whole construct, with its flanks, and on both strands. Rules count violations for many constructs at a time,
because a search proposes hundreds of thousands; DNA Chisel (doi:10.1093/bioinformatics/btaa558) checks one sequence at a time.

Rules also say whether they can be met at all: a set of possible bases at each position (4 bits, A 1, C 2, G 4, T 8) stands for all
constructs that a search can reach.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from gpraflow.core.errors import ConfigError, InputError, nearest
from gpraflow.design.content import count_sites, site_threshold
from gpraflow.sequences.iupac import CODE_OF, IUPAC
from gpraflow.sequences.motifs import Motif
from gpraflow.sequences.scaffold import BASES, PADDING

_GC, _ANY = IUPAC["S"], IUPAC["N"]
_BITS = np.array([1, 2, 4, 8, _ANY], np.uint8)  # of tokens
_COMPLEMENT = np.array([sum(1 << (3 - base) for base in range(BASES) if bits >> base & 1) for bits in range(16)], np.uint8)
LONGEST_REPEAT = 31  # bp: k-mers are numbers of 62 bits


class Rule(Protocol):
    """A hard constraint; `label` names it in messages."""

    @property
    def label(self) -> str:
        """Name of the rule in messages."""

    def violations(self, tokens: np.ndarray) -> np.ndarray:
        """Return how often each of ``(constructs, length)`` tokens breaks the rule, ``(constructs,)`` int64; 0 where it is met."""

    def impossible(self, bits: np.ndarray) -> str:
        """Return why no construct of the possible bases ``(length,)`` meets the rule; empty if this is not known."""


def bits_of(tokens: np.ndarray) -> np.ndarray:
    """Return the possible bases of tokens, uint8; N stands for any."""
    return _BITS[tokens]


def pattern_bits(pattern: str, where: str = "") -> np.ndarray:
    """Return the possible bases of an IUPAC pattern, ``(length,)`` uint8.

    Raises
    ------
    ConfigError
        If it is empty or has other letters.
    """
    if not pattern or (bad := [letter for letter in pattern.upper() if letter not in IUPAC]):
        found = f"'{bad[0]}' is no IUPAC code of DNA" if pattern else "it is empty"
        raise ConfigError(f"{where or 'pattern'} '{pattern}': {found}; use the letters {''.join(IUPAC)}")
    return np.array([IUPAC[letter] for letter in pattern.upper()], np.uint8)


def _strands(bits: np.ndarray) -> list[np.ndarray]:
    reverse = _COMPLEMENT[bits[::-1]]
    return [bits] if np.array_equal(bits, reverse) else [bits, reverse]


def _matches(bits: np.ndarray, pattern: np.ndarray) -> np.ndarray:
    """Return where a pattern matches for certain, ``(..., starts)`` bool; ``bits`` are those of constructs or of possible bases."""
    starts = bits.shape[-1] - len(pattern) + 1
    if starts < 1:
        return np.zeros((*bits.shape[:-1], 0), bool)
    found = np.ones((*bits.shape[:-1], starts), bool)
    for offset, allowed in enumerate(pattern):
        if allowed != _ANY:
            found &= (bits[..., offset : offset + starts] & (_ANY ^ allowed)) == 0
    return found


def _can_match(bits: np.ndarray, pattern: np.ndarray) -> bool:
    starts = len(bits) - len(pattern) + 1
    return any(((bits[start : start + len(pattern)] & pattern) > 0).all() for start in range(max(starts, 0)))


@dataclass(frozen=True)
class _Site:
    """A site, such as that of a restriction enzyme: its name, and its IUPAC pattern."""

    name: str
    pattern: str

    @property
    def strands(self) -> list[np.ndarray]:
        """Possible bases of either strand."""
        return _strands(pattern_bits(self.pattern))

    @property
    def shown(self) -> str:
        """Name and pattern."""
        return self.name + (f" ({self.pattern})" if self.name != self.pattern else "")


class ForbiddenSite(_Site):
    """No match of an IUPAC pattern on either strand."""

    @property
    def label(self) -> str:
        """Name of the rule."""
        return f"forbidden site {self.shown}"

    def violations(self, tokens: np.ndarray) -> np.ndarray:
        """Return the number of matches."""
        bits = bits_of(tokens)
        return sum(_matches(bits, strand).sum(axis=1) for strand in self.strands)

    def impossible(self, bits: np.ndarray) -> str:
        """Return where fixed bases hold the site."""
        for strand in self.strands:
            if (at := np.flatnonzero(_matches(bits, strand))).size:
                return f"it lies in fixed bases, positions {at[0] + 1} to {at[0] + len(strand)} of the construct"
        return ""


class RequiredSite(_Site):
    """At least one match of an IUPAC pattern on either strand."""

    @property
    def label(self) -> str:
        """Name of the rule."""
        return f"required site {self.shown}"

    def violations(self, tokens: np.ndarray) -> np.ndarray:
        """Return 1 for constructs without a match."""
        bits, found = bits_of(tokens), np.zeros(len(tokens), bool)
        for strand in self.strands:
            found |= _matches(bits, strand).any(axis=1)
        return (~found).astype(np.int64)

    def impossible(self, bits: np.ndarray) -> str:
        """Return that no place can hold the site."""
        fits = any(_can_match(bits, strand) for strand in self.strands)
        return "" if fits else "the bases that may change leave no place for it"

    @property
    def insertions(self) -> list[np.ndarray]:
        """Possible bases of either strand."""
        return self.strands


@dataclass(frozen=True)
class GcContent:
    """Share of G and C in the construct, or in each of its windows of ``window`` bp, between ``low`` and ``high``."""

    low: float
    high: float
    window: int = 0

    @property
    def label(self) -> str:
        """Name of the rule."""
        part = f"GC content of each {self.window} bp" if self.window else "GC content"
        return f"{part} {100 * self.low:g} to {100 * self.high:g} %"

    def _counts(self, is_gc: np.ndarray) -> np.ndarray:
        size = min(self.window or is_gc.shape[-1], is_gc.shape[-1])
        total = np.cumsum(np.pad(is_gc, [(0, 0)] * (is_gc.ndim - 1) + [(1, 0)]), axis=-1, dtype=np.int32)
        return total[..., size:] - total[..., : total.shape[-1] - size]

    def _ends(self, length: int) -> tuple[int, int]:
        """Return the least and the largest number of G and C in a window; rounding errors of shares do not count."""
        size = min(self.window or length, length)
        return int(np.ceil(self.low * size - 1e-9)), int(np.floor(self.high * size + 1e-9))

    def violations(self, tokens: np.ndarray) -> np.ndarray:
        """Return by how many bases the windows lie outside the range, summed over windows."""
        counts = self._counts((tokens == 1) | (tokens == 2))
        low, high = self._ends(tokens.shape[1])
        return (np.maximum(low - counts, 0) + np.maximum(counts - high, 0)).sum(axis=1, dtype=np.int64)

    def impossible(self, bits: np.ndarray) -> str:
        """Return a window that fixed bases keep outside the range."""
        low, high = self._ends(len(bits))
        if low > high:
            return f"no number of bases of {min(self.window or len(bits), len(bits))} is in this range"
        least, most = self._counts((bits & ~np.uint8(_GC) & _ANY) == 0), self._counts((bits & _GC) > 0)
        for at in np.flatnonzero((most < low) | (least > high))[:1]:
            size = min(self.window or len(bits), len(bits))
            reach = f"{100 * least[at] / size:.0f} to {100 * most[at] / size:.0f} %"
            return f"fixed bases leave {reach} for positions {at + 1} to {at + size} of the construct"
        return ""


@dataclass(frozen=True)
class Homopolymers:
    """No run of one base longer than ``longest`` bp."""

    longest: int

    @property
    def label(self) -> str:
        """Name of the rule."""
        return f"homopolymers of at most {self.longest} bp"

    def violations(self, tokens: np.ndarray) -> np.ndarray:
        """Return the number of positions at which a longer run begins or continues."""
        return sum(_matches(bits_of(tokens), run).sum(axis=1) for run in self._runs())

    def _runs(self) -> list[np.ndarray]:
        return [np.full(self.longest + 1, 1 << base, np.uint8) for base in range(BASES)]

    def impossible(self, bits: np.ndarray) -> str:
        """Return where fixed bases hold a longer run."""
        for run in self._runs():
            if (at := np.flatnonzero(_matches(bits, run))).size:
                letters = CODE_OF[int(run[0])] * len(run)
                return f"fixed bases hold {letters}, positions {at[0] + 1} to {at[0] + len(run)} of the construct"
        return ""


@dataclass(frozen=True)
class Repeats:
    """No k-mer of ``size`` bp at two places, on the same or on opposite strands."""

    size: int

    @property
    def label(self) -> str:
        """Name of the rule."""
        return f"no repeated {self.size}-mer"

    def _kmers(self, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the smaller of each k-mer and its reverse complement as a number, and where it has no N."""
        starts = max(tokens.shape[1] - self.size + 1, 0)
        forward, reverse = np.zeros((2, len(tokens), starts), np.int64)
        known = np.ones((len(tokens), starts), bool)
        for offset in range(self.size):
            window = tokens[:, offset : offset + starts].astype(np.int64)
            forward = forward * BASES + window
            reverse += (BASES - 1 - window) * BASES**offset
            known &= window < PADDING
        return np.minimum(forward, reverse), known

    def violations(self, tokens: np.ndarray) -> np.ndarray:
        """Return the number of k-mers that occurred before."""
        kmers, known = self._kmers(tokens)
        if kmers.shape[1] < 2:
            return np.zeros(len(tokens), np.int64)
        kmers = np.sort(np.where(known, kmers, -1 - np.arange(kmers.shape[1])), axis=1)
        return (kmers[:, 1:] == kmers[:, :-1]).sum(axis=1, dtype=np.int64)

    def impossible(self, bits: np.ndarray) -> str:
        """Return that fixed bases repeat a k-mer."""
        single = np.array([{1: 0, 2: 1, 4: 2, 8: 3}.get(int(each), PADDING) for each in bits], np.uint8)
        return "fixed bases repeat a k-mer" if self.violations(single[None])[0] else ""


@dataclass(frozen=True, eq=False)
class _MotifRule:
    """A motif and the score, as a share of the range of its scores, from which a place counts as a site (JASPAR's relative score)."""

    motif: Motif
    score: float

    @property
    def name(self) -> str:
        """Factor and matrix."""
        return f"{self.motif.factor} {self.motif.matrix_id}"

    @property
    def threshold(self) -> float:
        """Sum of log-odds from which a place counts as a site."""
        return site_threshold(self.motif, self.score)

    def _extremes(self, bits: np.ndarray, best: bool) -> np.ndarray:
        """Return the highest or lowest score of each place over all possible bases, both strands, ``(2, starts)``."""
        allowed = (bits[:, None] >> np.arange(BASES)) & 1 > 0
        width, totals = len(self.motif.log_odds), []
        for oriented in self.motif.strands:
            windows = np.lib.stride_tricks.sliding_window_view(allowed, width, axis=0).transpose(0, 2, 1)  # (starts, width, 4)
            filled = np.where(windows, oriented, -np.inf if best else np.inf)
            totals.append((filled.max(axis=2) if best else filled.min(axis=2)).sum(axis=1))
        return np.array(totals)


class ForbiddenMotif(_MotifRule):
    """No site of a motif on either strand."""

    @property
    def label(self) -> str:
        """Name of the rule."""
        return f"forbidden motif {self.name}"

    def violations(self, tokens: np.ndarray) -> np.ndarray:
        """Return the number of sites."""
        return count_sites(self.motif, self.score, tokens)

    def impossible(self, bits: np.ndarray) -> str:
        """Return that fixed bases hold a site."""
        if len(bits) < len(self.motif.log_odds):
            return ""
        at = np.flatnonzero((self._extremes(bits, best=False) >= self.threshold).any(axis=0))
        if not at.size:
            return ""
        return f"it lies in fixed bases, positions {at[0] + 1} to {at[0] + len(self.motif.log_odds)} of the construct"


class RequiredMotif(_MotifRule):
    """At least one site of a motif on either strand."""

    @property
    def label(self) -> str:
        """Name of the rule."""
        return f"required motif {self.name}"

    def violations(self, tokens: np.ndarray) -> np.ndarray:
        """Return 1 for constructs without a site."""
        return (count_sites(self.motif, self.score, tokens) == 0).astype(np.int64)

    def impossible(self, bits: np.ndarray) -> str:
        """Return that no place can hold a site."""
        fits = len(bits) >= len(self.motif.log_odds) and (self._extremes(bits, best=True) >= self.threshold).any()
        return "" if fits else "the bases that may change leave no place for a site"

    @property
    def insertions(self) -> list[np.ndarray]:
        """Possible bases of the best site, on either strand."""
        return _strands((1 << self.motif.log_odds.argmax(axis=1)).astype(np.uint8))


def violations(rules: Sequence[Rule], tokens: np.ndarray) -> np.ndarray:
    """Return the number of violations of all rules together, ``(constructs,)`` int64."""
    total = np.zeros(len(tokens), np.int64)
    for rule in rules:
        total += rule.violations(tokens)
    return total


def broken(rules: Sequence[Rule], tokens: np.ndarray) -> list[list[str]]:
    """Return the labels of the rules that each construct breaks."""
    counts = [rule.violations(tokens) > 0 for rule in rules]
    return [[rule.label for rule, row in zip(rules, counts, strict=True) if row[at]] for at in range(len(tokens))]


def check_possible(rules: Sequence[Rule], bits: np.ndarray, flanks: tuple[int, int] = (0, 0)) -> None:
    """Check that each rule can be met, and the pairs of rules whose contradiction follows from what they say.

    Parameters
    ----------
    rules
        All rules.
    bits
        Possible bases of the construct, ``(length,)``; one where a base is fixed.
    flanks
        Lengths of the 5' and the 3' flank.

    Raises
    ------
    InputError
        If a rule cannot be met, or two contradict each other.
    """
    of_flanks = np.full(len(bits), _ANY, np.uint8)
    five, three = flanks
    of_flanks[:five], of_flanks[len(bits) - three :] = bits[:five], bits[len(bits) - three :]
    for rule in rules:
        if reason := rule.impossible(bits):
            if isinstance(rule, (ForbiddenSite, ForbiddenMotif, Homopolymers, Repeats)) and rule.impossible(of_flanks):
                reason += ": the flanks themselves, which no design can change"
            raise InputError(f"design: {rule.label}: cannot be met: {reason}; drop or relax this constraint, or free these bases")
    for one, other in itertools.combinations(rules, 2):
        if _contradict(one, other, len(bits)) or _contradict(other, one, len(bits)):
            raise contradiction(one.label, other.label)


def contradiction(one: str, other: str, detail: str = "") -> InputError:
    """Return the error for two constraints that exclude each other."""
    return InputError(f"design: '{one}' and '{other}' contradict each other{detail}; drop or relax one of them")


def _contradict(one: Rule, other: Rule, length: int) -> bool:
    """Return True if what two rules say excludes each other, whatever the construct."""
    if isinstance(one, (RequiredSite, RequiredMotif)):
        if isinstance(one, RequiredMotif) and isinstance(other, ForbiddenMotif):
            return one.motif.matrix_id == other.motif.matrix_id and one.score >= other.score
        if isinstance(one, RequiredSite) and not isinstance(other, (GcContent, RequiredSite, RequiredMotif)):
            return bool(other.impossible(pattern_bits(one.pattern)))
    if isinstance(one, GcContent) and isinstance(other, GcContent) and one.window and not other.window:
        (low, high), (least, most) = one._ends(length), other._ends(length)
        whole, rest = divmod(length, min(one.window, length))
        free = min(one.window, length) - rest  # bases of the last window that another one covers
        return whole * high + min(rest, high) < least or whole * low + max(low - free, 0) > most
    return False


def enzyme_site(name: str) -> str:
    """Return the recognition site of a restriction enzyme by its name (`enzyme_sites`).

    Raises
    ------
    ConfigError
        If there is no such enzyme.
    """
    sites = enzyme_sites()
    known = {enzyme.lower(): site for enzyme, site in sites.items()}
    if name.lower() not in known:
        raise ConfigError(
            f"design: '{name}' is neither an IUPAC pattern in capitals, such as GGTCTC, nor a restriction enzyme{nearest(name, sites)}"
        )
    return known[name.lower()]


def enzyme_sites() -> dict[str, str]:
    """Return restriction enzyme -> its recognition site, in IUPAC codes (Biopython's Bio.Restriction, from REBASE)."""
    from Bio import Restriction  # half a second, and rarely needed

    return {enzyme.__name__: enzyme.site for enzyme in Restriction.AllEnzymes}  # type: ignore[attr-defined]


def site_of(text: str) -> tuple[str, str]:
    """Return name and IUPAC pattern of a site: a pattern in capitals stands for itself, anything else is the name of an enzyme."""
    text = text.strip()
    if text and all(letter in IUPAC for letter in text):
        return text, text
    if not text:
        raise ConfigError("design: a site is empty; give a name such as BsaI, or a site such as GGTCTC")
    return text, enzyme_site(text)


def motif_of(text: str, known: Sequence[Motif]) -> Motif:
    """Return a motif by its matrix identifier, or by its factor if that has one matrix only.

    Raises
    ------
    ConfigError
        If there is none, or the factor has several.
    """
    found = [motif for motif in known if text.lower() in (motif.matrix_id.lower(), motif.factor.lower())]
    if len(found) != 1:
        names = [name for motif in known for name in (motif.factor, motif.matrix_id)]
        several = ", ".join(motif.matrix_id for motif in found)
        what = f"has several matrices ({several}); name one of them" if found else f"is no motif of the file{nearest(text, names)}"
        raise ConfigError(f"design: motif '{text}' {what}")
    return found[0]


def rules_of(
    *,
    forbid_sites: Sequence[str] = (),
    require_sites: Sequence[str] = (),
    gc: Sequence[float] = (0.0, 1.0),
    gc_window: int = 0,
    gc_window_range: Sequence[float] = (0.0, 1.0),
    max_homopolymer: int = 0,
    repeat_kmer: int = 0,
    forbid_motifs: Sequence[str] = (),
    require_motifs: Sequence[str] = (),
    motif_score: float = 0.85,
    motifs: Sequence[Motif] = (),
) -> list[Rule]:
    """Return the rules that options of ``gpraflow design`` or keys of the config section ``design`` describe.

    Parameters
    ----------
    forbid_sites, require_sites
        IUPAC patterns in capitals, or names of restriction enzymes.
    gc, gc_window_range
        Least and largest share of G and C, of the construct and of each of its windows of ``gc_window`` bp; 0 for no windows.
    max_homopolymer, repeat_kmer
        Longest run of a base, and length of k-mers that must not repeat; 0 for no limit.
    forbid_motifs, require_motifs
        Matrix identifiers or factors of ``motifs``.
    motif_score
        Share of the range of a motif's scores from which a place counts as a site.

    Raises
    ------
    ConfigError
        If a site or motif is unknown, or a range is empty.
    """
    for name, (low, high) in {"gc": gc, "gc_window_range": gc_window_range}.items():
        if not 0 <= low <= high <= 1:
            raise ConfigError(f"design.{name}: found {low:g} to {high:g}, expected two shares from 0 to 1, the smaller one first")
    if repeat_kmer and not 4 <= repeat_kmer <= LONGEST_REPEAT:
        raise ConfigError(f"design.repeat_kmer: found {repeat_kmer}, expected 0 (no limit) or 4 to {LONGEST_REPEAT} bp")
    rules: list[Rule] = [ForbiddenSite(*site_of(text)) for text in forbid_sites]
    rules += [RequiredSite(*site_of(text)) for text in require_sites]
    if (gc[0], gc[1]) != (0, 1):
        rules.append(GcContent(gc[0], gc[1]))
    if gc_window and (gc_window_range[0], gc_window_range[1]) != (0, 1):
        rules.append(GcContent(gc_window_range[0], gc_window_range[1], gc_window))
    rules += [Homopolymers(max_homopolymer)] if max_homopolymer else []
    rules += [Repeats(repeat_kmer)] if repeat_kmer else []
    rules += [ForbiddenMotif(motif_of(text, motifs), motif_score) for text in forbid_motifs]
    rules += [RequiredMotif(motif_of(text, motifs), motif_score) for text in require_motifs]
    return rules
