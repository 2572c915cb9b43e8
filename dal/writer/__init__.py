"""The writer: its queue, batches and batch size, which the synchronous and the asynchronous side share."""
