"""What no robot runs: training, evaluation, simulation, benchmarks."""
