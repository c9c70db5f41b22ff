"""Whether the tests can fail: real bugs, put back one at a time, and the test that sees each."""
