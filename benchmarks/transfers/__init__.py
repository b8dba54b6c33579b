"""Parts of the transfer experiment: what is asked that the skill was never trained on."""
