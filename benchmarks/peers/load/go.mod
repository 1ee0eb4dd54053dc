module benchmarks/peers/load

go 1.26.0
