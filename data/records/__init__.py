"""Frozen records that cross a border between two stages."""
