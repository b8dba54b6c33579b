"""Banks: the model's own trained rows, in hashed n-gram tables (DeepSeek's Engram)."""
