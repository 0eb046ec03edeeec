"""Real time: what is measured, what is told a minute later, and how a day of that goes."""
