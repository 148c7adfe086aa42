"""The servers, databases and helpers that the tests, the benchmarks and the chaos campaigns share."""
