"""The subcommands of ``aenet``, one module each."""
