"""What a journey may ask of the world. ``signatures`` is the half that workflows may import."""
