"""A fuzzer of everything that is read from files: `python -m tests.fuzz N` (`make fuzz N=100000`)."""
