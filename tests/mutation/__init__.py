"""Mutation testing of the modules that keep the promises: ``make mutation``.

Cosmic Ray makes the mutations; which of them are made is in :mod:`mutation.operators`. What is
ours is the choice of tests for each, by the coverage of one recorded run, and a process that
has collected the tests and forks for each mutant.
"""
