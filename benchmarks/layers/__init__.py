"""Parts of the layered experiment: one layer after another, and controls for each of them."""
