"""Third-party files in and out: one module per subcommand of `wsseg convert`."""
