"""What lint looks for, by what it concerns. Each check yields the places of its faults and what to do about them."""
