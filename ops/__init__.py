"""Running Perennial: embedded engines, the supervisor, and what an operator asks of the whole."""
