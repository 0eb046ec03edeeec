"""What runs beside a device: takes letters, decides what is in force, answers."""
