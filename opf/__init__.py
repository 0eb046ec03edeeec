"""What clears: power flow, optimal power flow, prices and their certificate (the only place with solvers)."""
