import pytest

from gpraflow.core.errors import ConfigError
from gpraflow.sequences.segments import Segment, parse


def test_segments_are_kinds_and_lengths_in_order():
    assert parse("promoter 100, barcode 20") == (Segment("promoter", 100), Segment("barcode", 20))
    assert parse(" barcode 8,constant  12 , promoter * ") == (Segment("barcode", 8), Segment("constant", 12), Segment("promoter", None))
    assert parse("") == parse("  ") == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("promoter 100 barcode 20", "'promoter 100 barcode 20' is not a kind .* such as 'promoter 100, barcode 20'"),
        ("P100, B20", "'P100' is not a kind"),
        ("promoter 100, barcode", "'barcode' is not a kind"),
        ("promoter 100,", "'' is not a kind"),
        ("promoter 0", "'promoter 0' is not a kind"),
        ("promoter -5", "'promoter -5' is not a kind"),
        ("barcode 20, constant 5", "has no promoter"),
        ("promoter *, barcode *", r"more than one segment of length \*"),
    ],
)
def test_wrong_segments_are_named(text, message):
    with pytest.raises(ConfigError, match=rf"^scaffold\.segments: .*{message}"):
        parse(text)
