"""What clears: power flow, optimal power flow, prices and their certificate.

The only place with solvers.
"""
