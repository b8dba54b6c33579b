"""What benchmarks of trained memories share: texts, blocks of tokens, FLOPs, training, losses."""
