"""HTTP/1.1 as bytes: heads, bodies and how they are framed. Pure: no socket, no clock, no task."""
