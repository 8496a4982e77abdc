"""The command `gpraflow` in this process."""

from gpraflow.app import cli


def run(*arguments):
    """Return the exit code."""
    return cli.main([str(argument) for argument in arguments])


def refused(capsys, *arguments):
    """Return the message of a call whose input or options are refused; nothing else may be printed."""
    assert run(*arguments) == cli.REFUSED
    said = capsys.readouterr()
    assert not said.out
    assert "Traceback" not in said.err
    return said.err
