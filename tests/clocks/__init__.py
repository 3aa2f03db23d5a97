"""The suite at other hours: a wall clock set to moments that programs get wrong, the monotonic clock left alone."""
