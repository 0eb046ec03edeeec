"""Flexibility procurement as the operator does it: request, tender, buy, settle."""
