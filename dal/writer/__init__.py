"""The writer's queue, batches and batch size, shared by its synchronous and asynchronous sides."""
