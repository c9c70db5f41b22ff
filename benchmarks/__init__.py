"""Benchmarks of this machine: ``make bench``.

Each rate has a floor beside it, measured in the same run: the rate at which the bare
database driver inserts the same rows. A rate alone describes the machine more than the
code.
"""
