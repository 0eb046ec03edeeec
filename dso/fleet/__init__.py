"""Fleets of devices on a feeder: their orders, what they did with their awards, and a page."""
