"""What is offered: orders, models of distributed energy resources, portfolios, baselines."""
