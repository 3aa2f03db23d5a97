"""What ops say: the verdict of this gate on an operation. No I/O, no clock."""
