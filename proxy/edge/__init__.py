"""All other I/O: servers, bundlers, storage, metrics."""
