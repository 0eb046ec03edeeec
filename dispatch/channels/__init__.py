"""Ways for letters to reach devices and for their messages to come back."""
