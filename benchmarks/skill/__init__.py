"""What the shared skill is trained on: personal attributes, wordings, values."""
