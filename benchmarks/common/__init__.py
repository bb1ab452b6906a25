"""What several benchmarks share: arms, cells, data, measurements and tables."""
