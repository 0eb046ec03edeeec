"""The market runs by itself: due cycles are inserted by one scheduler and leased by workers."""
