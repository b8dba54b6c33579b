"""Tables that replace a memory's own rows, for their owner alone (`addressing="bucket"`)."""
