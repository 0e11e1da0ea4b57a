"""What benchmarks share: declarations, arguments, printing, simulated decoders, measured commands."""
