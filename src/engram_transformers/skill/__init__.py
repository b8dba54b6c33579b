"""The shared skill: recite the trigger of what is needed, read the row, then reason."""
