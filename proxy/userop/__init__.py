"""What is being asked: user operations as typed values, their hash, their claim, their calls. No I/O, no clock."""
