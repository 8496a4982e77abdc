"""Expression in several conditions: one table of each, joined to one row per promoter."""

from collections.abc import Callable, Sequence

import polars as pl

from gpraflow.assay.count_tables import LABELS
from gpraflow.core.ledger import Ledger
from gpraflow.formats import conditions as formats_conditions

# Reasons for which tables of one condition have fewer rows than were read, although no promoter is lost.
OTHER, REPLICATE, BARCODE = "of another condition", "further replicate of a row, joined", "further barcode of a promoter, counts combined"


def estimate(conditions: Sequence[str], of_condition: Callable[[str, Ledger], pl.DataFrame], ledger: Ledger) -> pl.DataFrame:
    """Return the expression table of all conditions.

    Parameters
    ----------
    conditions
        Names of the conditions; empty for one.
    of_condition
        Function that returns the expression table of a condition and records in its ledger what it dropped; it gets an empty name if
        there is only one condition.
    ledger
        Records what each condition drops as notes; and as dropped the rows that were combined, and those that no condition keeps.

    Returns
    -------
    polars.DataFrame
        The table of the only condition, or `formats.conditions.join` of all.
    """
    if not conditions:
        return of_condition("", ledger)
    tables, read, combined = {}, 0, dict.fromkeys((OTHER, REPLICATE, BARCODE), 0)
    for name in conditions:
        print(f"condition {name}:", flush=True)
        own = Ledger(ledger.rule, name)
        tables[name] = of_condition(name, own)
        read = max(read, own.counts.pop(("in", "rows")))
        for (kind, what), rows in own.counts.items():
            ledger.note(f"{name}: {what}", rows)
            if kind == "dropped" and what in combined:
                combined[what] = max(combined[what], rows)
    key = [name for name in ("sequence", *LABELS) if all(name in table.columns for table in tables.values())]
    joined = formats_conditions.join(tables, key)
    ledger.read(read)
    left = ledger.counts["in", "rows"] - sum(rows for (kind, _), rows in ledger.counts.items() if kind == "dropped") - joined.height
    for what, most in combined.items():
        if rows := min(most, left):
            ledger.drop(what, rows)
            left -= rows
    ledger.drop("in no condition's table", left)
    return joined
