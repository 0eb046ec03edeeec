"""The chain side: heads of the log, assets and energy certificates on an EVM chain."""
