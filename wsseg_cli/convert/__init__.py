"""Other people's files in and out: one module a `wsseg convert` word."""
