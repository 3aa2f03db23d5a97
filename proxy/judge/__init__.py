"""What ops say: rules, the facts they see, what they count, and the verdict on an operation. No I/O, no clock."""
