"""Parts of the benchmark `bank_step`: what a step of training a bank costs."""
