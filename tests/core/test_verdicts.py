import io

from gpraflow.core import verdicts


def test_verdicts_come_back_as_written_and_warnings_reach_the_terminal(tmp_path, capsys):
    rows = [
        {"dataset": "val", "check": "split size", "value": 12.0, "verdict": "warning", "text": 'few\t"promoters"'},
        {"dataset": "1", "check": "scale", "value": None, "verdict": "ok", "text": "same scale"},
    ]
    verdicts.write(tmp_path / "checks.tsv", rows)
    assert verdicts.read(tmp_path / "checks.tsv") == rows
    verdicts.write(tmp_path / "none.tsv", [])
    assert verdicts.read(tmp_path / "none.tsv") == []
    terminal = io.StringIO()
    verdicts.show(rows, terminal)
    assert terminal.getvalue() == 'gpraflow: warning: val, split size: few\t"promoters"\n'
    assert capsys.readouterr().out == 'warning: val, split size: few\t"promoters"\nok: 1, scale: same scale\n'
