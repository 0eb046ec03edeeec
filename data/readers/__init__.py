"""Readers: files and libraries of others become records of ours."""
