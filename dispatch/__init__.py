"""What we tell devices, and what they did."""
