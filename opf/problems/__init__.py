"""Questions about a case beyond its clearing: what planners ask of the grid."""
