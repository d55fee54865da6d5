"""The journeys, one file each, and the base they share. Nothing here does I/O or reads a clock but the workflow's."""
