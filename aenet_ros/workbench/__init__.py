"""What no robot runs: training, study, evaluation, reports, simulation, benchmarks."""
